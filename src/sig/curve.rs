//! ECDSA verification on curves that no kept crate has in a fitting version, and that Pantavisor's TLS library takes all the same
//! (`storage.md` §11.7). FIPS 186-5 §6.4.2, by the book.
//!
//! Everything in here is public (key, message, signature), so nothing has to take the same time. Nothing is ever signed here.

use crypto_bigint::modular::{FixedMontyForm, FixedMontyParams};
use crypto_bigint::{Odd, U512};

type Element = FixedMontyForm<{ U512::LIMBS }>;
type Params = FixedMontyParams<{ U512::LIMBS }>;

/// y² = x³ + ax + b over the field of `p`; the point (x, y) generates a group of prime order `n`. Hex digits.
#[derive(Debug)]
pub(super) struct Equation {
    /// Bytes of a coordinate, and of `n`.
    pub(super) bytes: usize,
    p: &'static str,
    a: &'static str,
    b: &'static str,
    x: &'static str,
    y: &'static str,
    n: &'static str,
}

/// SEC 2 §2.3.2.
pub(super) const P224: Equation = Equation {
    bytes: 28,
    p: "ffffffffffffffffffffffffffffffff000000000000000000000001",
    a: "fffffffffffffffffffffffffffffffefffffffffffffffffffffffe",
    b: "b4050a850c04b3abf54132565044b0b7d7bfd8ba270b39432355ffb4",
    x: "b70e0cbd6bb4bf7f321390b94a03c1d356c21122343280d6115c1d21",
    y: "bd376388b5f723fb4c22dfe6cd4375a05a07476444d5819985007e34",
    n: "ffffffffffffffffffffffffffff16a2e0b8f03e13dd29455c5c2a3d",
};

/// SEC 2 §2.4.1.
pub(super) const SECP256K1: Equation = Equation {
    bytes: 32,
    p: "fffffffffffffffffffffffffffffffffffffffffffffffffffffffefffffc2f",
    a: "0",
    b: "7",
    x: "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798",
    y: "483ada7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8",
    n: "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141",
};

/// RFC 5639 §3.4.
pub(super) const BRAINPOOL_P256: Equation = Equation {
    bytes: 32,
    p: "a9fb57dba1eea9bc3e660a909d838d726e3bf623d52620282013481d1f6e5377",
    a: "7d5a0975fc2c3057eef67530417affe7fb8055c126dc5c6ce94a4b44f330b5d9",
    b: "26dc5c6ce94a4b44f330b5d9bbd77cbf958416295cf7e1ce6bccdc18ff8c07b6",
    x: "8bd2aeb9cb7e57cb2c4b482ffc81b7afb9de27e1e3bd23c23a4453bd9ace3262",
    y: "547ef835c3dac4fd97f8461a14611dc9c27745132ded8e545c1d54c72f046997",
    n: "a9fb57dba1eea9bc3e660a909d838d718c397aa3b561a6f7901e0e82974856a7",
};

/// RFC 5639 §3.6.
pub(super) const BRAINPOOL_P384: Equation = Equation {
    bytes: 48,
    p: "8cb91e82a3386d280f5d6f7e50e641df152f7109ed5456b412b1da197fb71123acd3a729901d1a71874700133107ec53",
    a: "7bc382c63d8c150c3c72080ace05afa0c2bea28e4fb22787139165efba91f90f8aa5814a503ad4eb04a8c7dd22ce2826",
    b: "04a8c7dd22ce28268b39b55416f0447c2fb77de107dcd2a62e880ea53eeb62d57cb4390295dbc9943ab78696fa504c11",
    x: "1d1c64f068cf45ffa2a63a81b7c13f6b8847a3e77ef14fe3db7fcafe0cbd10e8e826e03436d646aaef87b2e247d4af1e",
    y: "8abe1d7520f9c2a45cb1eb8e95cfd55262b70b29feec5864e19c054ff99129280e4646217791811142820341263c5315",
    n: "8cb91e82a3386d280f5d6f7e50e641df152f7109ed5456b31f166e6cac0425a7cf3ab6af6b7fc3103b883202e9046565",
};

/// RFC 5639 §3.7.
pub(super) const BRAINPOOL_P512: Equation = Equation {
    bytes: 64,
    p: "aadd9db8dbe9c48b3fd4e6ae33c9fc07cb308db3b3c9d20ed6639cca703308717d4d9b009bc66842aecda12ae6a380e62881ff2f2d82c68528aa6056583a48f3",
    a: "7830a3318b603b89e2327145ac234cc594cbdd8d3df91610a83441caea9863bc2ded5d5aa8253aa10a2ef1c98b9ac8b57f1117a72bf2c7b9e7c1ac4d77fc94ca",
    b: "3df91610a83441caea9863bc2ded5d5aa8253aa10a2ef1c98b9ac8b57f1117a72bf2c7b9e7c1ac4d77fc94cadc083e67984050b75ebae5dd2809bd638016f723",
    x: "81aee4bdd82ed9645a21322e9c4c6a9385ed9f70b5d916c1b43b62eef4d0098eff3b1f78e2d0d48d50d1687b93b97d5f7c6d5047406a5e688b352209bcb9f822",
    y: "7dde385d566332ecc0eabfa9cf7822fdf209f70024a57b1aa000c55b881f8111b2dcde494a5f485e5bca4bd88a2763aed1ca2b2fa8f0540678cd1e0f3ad80892",
    n: "aadd9db8dbe9c48b3fd4e6ae33c9fc07cb308db3b3c9d20ed6639cca70330870553e5c414ca92619418661197fac10471db1d381085ddaddb58796829ca90069",
};

/// A point in Jacobian coordinates, (x/z², y/z³); with z = 0 it is the neutral one.
#[derive(Clone, Copy)]
struct Point {
    x: Element,
    y: Element,
    z: Element,
}

/// A curve ready to be computed on.
struct Curve {
    field: Params,
    a: Element,
    b: Element,
    generator: Point,
    order: U512,
    order_bits: usize,
}

impl Equation {
    /// Whether these are the coordinates of a point: in the field, and on the curve.
    pub(super) fn is_point(&self, x: &[u8], y: &[u8]) -> bool {
        Curve::of(self).and_then(|curve| curve.point(x, y)).is_some()
    }

    /// Whether (r, s) signs the message whose hash that is. `x` and `y` are the coordinates of the key.
    pub(super) fn verify(&self, (x, y): (&[u8], &[u8]), hash: &[u8], (r, s): (&[u8], &[u8])) -> bool {
        Curve::of(self).and_then(|curve| curve.verify((x, y), hash, (r, s))).unwrap_or(false)
    }
}

impl Curve {
    fn of(equation: &Equation) -> Option<Self> {
        let field = Params::new_vartime(Odd::new(hex(equation.p)?).into_option()?);
        let order = hex(equation.n)?;
        let element = |text| hex(text).map(|number| Element::new(&number, &field));
        let generator = Point { x: element(equation.x)?, y: element(equation.y)?, z: Element::one(&field) };
        let (a, b) = (element(equation.a)?, element(equation.b)?);
        Some(Self { field, a, b, generator, order, order_bits: equation.bytes * 8 })
    }

    fn point(&self, x: &[u8], y: &[u8]) -> Option<Point> {
        let element = |bytes| {
            let number = number(bytes)?;
            (number < *self.field.modulus().as_ref()).then(|| Element::new(&number, &self.field))
        };
        let (x, y) = (element(x)?, element(y)?);
        let right = (x * x + self.a) * x + self.b;
        (y * y == right).then(|| Point { x, y, z: Element::one(&self.field) })
    }

    fn verify(&self, (x, y): (&[u8], &[u8]), hash: &[u8], (r, s): (&[u8], &[u8])) -> Option<bool> {
        let key = self.point(x, y)?;
        let below = |bytes| number(bytes).filter(|number| *number != U512::ZERO && *number < self.order);
        let (r, s) = (below(r)?, below(s)?);
        let scalars = Params::new_vartime(Odd::new(self.order).into_option()?);
        // The leftmost bits of the hash, as many as the order has; all orders here have whole bytes of them.
        let e = number(&hash[..hash.len().min(self.order_bits / 8)])?;
        let inverse = Element::new(&s, &scalars).invert_vartime().into_option()?;
        let u1 = (Element::new(&e, &scalars) * inverse).retrieve();
        let u2 = (Element::new(&r, &scalars) * inverse).retrieve();
        let sum = self.twice_multiplied(&u1, &self.generator, &u2, &key);
        let over = sum.z.invert_vartime().into_option()?;
        let found = (sum.x * over * over).retrieve();
        Some(Element::new(&found, &scalars).retrieve() == r)
    }

    /// `u1`·`p` + `u2`·`q`, bit by bit.
    fn twice_multiplied(&self, u1: &U512, p: &Point, u2: &U512, q: &Point) -> Point {
        let both = self.add(p, q);
        let zero = Element::zero(&self.field);
        let mut sum = Point { x: Element::one(&self.field), y: Element::one(&self.field), z: zero };
        for bit in (0..u1.bit_width_vartime().max(u2.bit_width_vartime())).rev() {
            sum = self.double(&sum);
            sum = match (u1.bit_vartime(bit), u2.bit_vartime(bit)) {
                (true, true) => self.add(&sum, &both),
                (true, false) => self.add(&sum, p),
                (false, true) => self.add(&sum, q),
                (false, false) => sum,
            };
        }
        sum
    }

    fn is_neutral(&self, point: &Point) -> bool {
        point.z == Element::zero(&self.field)
    }

    fn double(&self, point: &Point) -> Point {
        // The neutral point and points with y = 0 come out with z = 0 by themselves.
        let Point { x, y, z } = *point;
        let yy = y * y;
        let s = twice(twice(x * yy));
        let zz = z * z;
        let m = twice(x * x) + x * x + self.a * zz * zz;
        let x3 = m * m - twice(s);
        let y3 = m * (s - x3) - twice(twice(twice(yy * yy)));
        Point { x: x3, y: y3, z: twice(y * z) }
    }

    fn add(&self, p: &Point, q: &Point) -> Point {
        if self.is_neutral(p) {
            return *q;
        }
        if self.is_neutral(q) {
            return *p;
        }
        let (pzz, qzz) = (p.z * p.z, q.z * q.z);
        let (u1, u2) = (p.x * qzz, q.x * pzz);
        let (s1, s2) = (p.y * qzz * q.z, q.y * pzz * p.z);
        if u1 == u2 {
            // One and the same, or opposite to each other: then y is turned, and z of the sum is 0.
            let neutral = Point { x: u1, y: s1, z: Element::zero(&self.field) };
            return if s1 == s2 { self.double(p) } else { neutral };
        }
        let (h, r) = (u2 - u1, s2 - s1);
        let hh = h * h;
        let (hhh, v) = (h * hh, u1 * hh);
        let x = r * r - hhh - twice(v);
        let y = r * (v - x) - s1 * hhh;
        Point { x, y, z: h * p.z * q.z }
    }
}

fn twice(element: Element) -> Element {
    element + element
}

/// Big-endian, of any length; none if it is too large.
fn number(bytes: &[u8]) -> Option<U512> {
    let significant = &bytes[bytes.iter().take_while(|byte| **byte == 0).count()..];
    let mut padded = [0; 64];
    let at = padded.len().checked_sub(significant.len())?;
    padded[at..].copy_from_slice(significant);
    Some(U512::from_be_slice(&padded))
}

fn hex(digits: &str) -> Option<U512> {
    let mut bytes = Vec::with_capacity(64);
    let padded = format!("{}{digits}", if digits.len().is_multiple_of(2) { "" } else { "0" });
    for at in (0..padded.len()).step_by(2) {
        bytes.push(u8::from_str_radix(&padded[at..at + 2], 16).ok()?);
    }
    number(&bytes)
}

#[cfg(test)]
#[path = "curve_tests.rs"]
mod beside_crates;

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [&Equation; 5] = [&P224, &SECP256K1, &BRAINPOOL_P256, &BRAINPOOL_P384, &BRAINPOOL_P512];

    #[test]
    fn generators_are_points_of_their_order() {
        for equation in ALL {
            let curve = Curve::of(equation).unwrap();
            let Point { x, y, .. } = curve.generator;
            assert_eq!(y * y, (x * x + curve.a) * x + curve.b);
            let zero = U512::ZERO;
            let times = |n: &U512| curve.twice_multiplied(n, &curve.generator, &zero, &curve.generator);
            assert!(curve.is_neutral(&times(&curve.order)));
            let before = times(&curve.order.wrapping_sub(&U512::ONE));
            assert!(curve.is_neutral(&curve.add(&before, &curve.generator)));
            assert_eq!(equation.bytes * 8, curve.order.bit_width_vartime() as usize);
        }
    }

    #[test]
    fn sums_do_not_depend_on_the_way() {
        for equation in ALL {
            let curve = Curve::of(equation).unwrap();
            let g = &curve.generator;
            let affine = |point: &Point| {
                let over = point.z.invert_vartime().into_option().unwrap();
                ((point.x * over * over).retrieve(), (point.y * over * over * over).retrieve())
            };
            let mut sum = *g;
            for n in 2..40_u8 {
                sum = curve.add(&sum, g);
                let half = U512::from(n / 2);
                let rest = U512::from(n - n / 2);
                assert_eq!(affine(&sum), affine(&curve.twice_multiplied(&half, g, &rest, g)), "{n}");
            }
        }
    }

    #[test]
    fn what_is_no_point_or_no_scalar() {
        let bytes = |digits: &str| hex(digits).unwrap().to_be_bytes().as_ref().to_vec();
        for equation in ALL {
            let (x, y) = (bytes(equation.x), bytes(equation.y));
            assert!(equation.is_point(&x, &y));
            assert!(!equation.is_point(&y, &x));
            assert!(!equation.is_point(&bytes(equation.p), &y));
            assert!(!equation.is_point(&[0], &[0]));
            assert!(!equation.is_point(&[1; 65], &y));
            let (n, one) = (bytes(equation.n), [1]);
            for (r, s) in [(&[][..], &one[..]), (&one, &[0]), (&n, &one), (&one, &n), (&[0xff; 70], &one)] {
                assert!(!equation.verify((&x, &y), &[7; 32], (r, s)));
            }
        }
    }
}
