"""The error function erf: near 0 a polynomial, further out 1 - 2**g(|x|) where g is a polynomial near log2(erfc).

The scheme is Norbert Juffa's; the coefficients are minimax fits, of erf(x) / x - 1 in x**2, of log2(erfc(x))
weighted for the error of erf, and of 2**r for |r| <= 1/2.
"""

from __future__ import annotations

from dataclasses import dataclass

from staticnet.compiler.codegen.llvm.arithmetic import Number, at_most, fma, polynomial, select
from staticnet.compiler.codegen.llvm.exponential import format_of


@dataclass(frozen=True)
class Fit:
    """Below `border` the polynomial `near` holds, beyond it `far`; from `one` on erf is 1."""

    border: float
    one: float
    near: tuple[float, ...]
    far: tuple[float, ...]
    exp2: tuple[float, ...]


SINGLE = Fit(
    0.875,
    4.0,
    (0.128379151, -0.376125336, 0.112823285, -0.026787594, 0.00502703106, -0.000617837242),
    (-0.0001924026, -1.62726915, -0.918615401, -0.150514826, 0.0323465876, -0.00446152268, 0.00029000963),
    (1.0, 0.693147004, 0.240222439, 0.0555070527, 0.00967144966, 0.00132721313),
)
DOUBLE = Fit(
    1.0,
    6.0,
    (
        0.12837916709551256,
        -0.37612638903183454,
        0.11283791670942432,
        -0.026866170642896595,
        0.0052239776046605181,
        -0.00085483258690226597,
        0.00012055291978359917,
        -1.4924684554152386e-05,
        1.6446817829662127e-06,
        -1.6204087919776414e-07,
        1.3701984442836063e-08,
        -7.7636679007840664e-10,
    ),
    (
        -7.2516178552970776e-07,
        -1.6278997058897728,
        -0.91848259338408755,
        -0.1481697735330964,
        0.027397092331573562,
        0.00059233753069364774,
        -0.0027640487738789009,
        0.0011117468255927199,
        -0.00019480269593465235,
        -2.9254531351709182e-05,
        3.2931796347634022e-05,
        -1.2505771671471732e-05,
        3.081507729066573e-06,
        -5.3862499834036173e-07,
        6.6981659076962252e-08,
        -5.676564103609105e-09,
        2.9505738479096075e-10,
        -7.1112317928992712e-12,
    ),
    (
        1.0,
        0.69314718055994917,
        0.24022650695909101,
        0.055504108664481834,
        0.0096181291079834204,
        0.0013333558225813039,
        0.00015403529993979678,
        1.5252659414773845e-05,
        1.321565368615258e-06,
        1.0208326283092534e-07,
        7.0381706172949417e-09,
    ),
)


def erf(x: Number) -> Number:
    fit, own = (SINGLE, DOUBLE)[x.dtype.itemsize == 8], format_of(x)
    magnitude = at_most(x.absolute(), fit.one)
    near = fma(polynomial(x * x, fit.near), x, x)
    exponent = polynomial(magnitude, fit.far)
    rounded = exponent + own.magic
    rest = exponent - (rounded - own.magic)
    power = ((rounded.bits() << own.fraction) + x.number(1.0).bits()).as_float()
    far = fma(-power, polynomial(rest, fit.exp2), 1.0)
    return select(magnitude < fit.border, near, far.copysign(x))
