"""What happens inside recurrent layers: how gradients flow back through time, and how saturated the gates are.

    gradient_flow(model, x)   |dL/dh_t| at every step of every layer, and the Jacobians of the steps
    saturation(model, x)      how many gates and tanh units are near their limits at every step

Both leave the model as it was: parameters, their gradients, training mode, random generators.
"""

from xprnn.diagnose.flow import GradientFlow, gradient_flow
from xprnn.diagnose.saturation import Saturation, saturation

__all__ = ["GradientFlow", "Saturation", "gradient_flow", "saturation"]
