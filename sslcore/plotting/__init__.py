"""Pictures of arrays: panels that draw one thing onto axes, and how they are saved."""
