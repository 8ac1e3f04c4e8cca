"""What a job is: command, parameters, inputs, outputs, and the identity of its code."""
