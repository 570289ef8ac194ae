"""The loop: `gate()` where the harness executes, `mediate()` where AGP does."""
