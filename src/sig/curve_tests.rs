//! Our arithmetic on the two curves that a kept crate has as well, beside that crate. What is right for these is right for the
//! others, of which only the numbers differ (`tests/device_curves.rs` looks at those).

use p256::ecdsa::signature::hazmat::PrehashSigner;
use proptest::prelude::*;

use super::*;
use crate::sig::public::{Curve as Named, Hash, PublicKey, Signature};

/// SEC 2 §2.4.2.
const P256: Equation = Equation {
    bytes: 32,
    p: "ffffffff00000001000000000000000000000000ffffffffffffffffffffffff",
    a: "ffffffff00000001000000000000000000000000fffffffffffffffffffffffc",
    b: "5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604b",
    x: "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296",
    y: "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5",
    n: "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551",
};

/// SEC 2 §2.5.1.
const P384: Equation = Equation {
    bytes: 48,
    p: "fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffeffffffff0000000000000000ffffffff",
    a: "fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffeffffffff0000000000000000fffffffc",
    b: "b3312fa7e23ee7e4988e056be3f82d19181d9c6efe8141120314088f5013875ac656398d8a2ed19d2a85c8edd3ec2aef",
    x: "aa87ca22be8b05378eb1c71ef320ad746e1d3b628ba79b9859f741e082542a385502f25dbf55296c3a545e3872760ab7",
    y: "3617de4a96262c6f5d9e98bf9292dc29f8f41dbd289a147ce9da3113b5f0b8c00a60b1ce1d7e819d7a431d7c90ea0e5f",
    n: "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973",
};

const BOTH: [(Named, &Equation); 2] = [(Named::P256, &P256), (Named::P384, &P384)];

/// A key by the crate: its point, and what it signs a digest with. None for numbers that are no key.
fn signed(named: Named, secret: &[u8], digest: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let secret = secret.get(..named.bytes())?;
    Some(match named {
        Named::P256 => {
            let key = p256::ecdsa::SigningKey::from_slice(secret).ok()?;
            let signature: p256::ecdsa::Signature = key.sign_prehash(digest).ok()?;
            (key.verifying_key().to_sec1_point(false).as_bytes().to_vec(), signature.to_bytes().to_vec())
        }
        _ => {
            let key = p384::ecdsa::SigningKey::from_slice(secret).ok()?;
            let signature: p384::ecdsa::Signature = key.sign_prehash(digest).ok()?;
            (key.verifying_key().to_sec1_point(false).as_bytes().to_vec(), signature.to_bytes().to_vec())
        }
    })
}

/// The verdict of the crate and ours.
fn verdicts((named, equation): (Named, &Equation), point: &[u8], digest: &[u8], r: &[u8], s: &[u8]) -> [bool; 2] {
    let (x, y) = point[1..].split_at(named.bytes());
    let theirs = PublicKey::from_point(named, point)
        .is_ok_and(|key| key.verify_hashed(Hash::Sha256, digest, Signature::Ecdsa { r, s }));
    [theirs, equation.verify((x, y), digest, (r, s))]
}

/// The small and the large numbers of a curve, at which carries and reductions are.
fn edges(equation: &Equation) -> Vec<Vec<u8>> {
    let n = hex(equation.n).unwrap();
    let p = hex(equation.p).unwrap();
    let small = |number: u8| U512::from(number);
    let numbers = [0, 1, 2, 3].map(small).into_iter().chain([0, 1, 2].map(|less| n.wrapping_sub(&small(less))));
    let numbers = numbers.chain([n.wrapping_add(&small(1)), p, p.wrapping_sub(&small(1)), n.shr_vartime(1)]);
    numbers.map(|number| number.to_be_bytes().as_ref()[64 - equation.bytes..].to_vec()).collect()
}

#[test]
fn edges_are_judged_as_by_the_crate() {
    for both in BOTH {
        let edges = edges(both.1);
        for secret in &edges {
            let Some((point, _)) = signed(both.0, secret, &[7; 32]) else { continue };
            for digest in [vec![0; 32], edges[6].clone()] {
                let (_, signature) = signed(both.0, secret, &digest).unwrap();
                let (r, s) = signature.split_at(both.0.bytes());
                assert_eq!(verdicts(both, &point, &digest, r, s), [true; 2], "{:?} {secret:x?}", both.0);
                let small = edges.iter().flat_map(|r| edges.iter().take(4).map(move |s| (r.as_slice(), s.as_slice())));
                let real = edges.iter().flat_map(|edge| [(r, edge.as_slice()), (edge.as_slice(), s)]);
                for (r, s) in small.chain(real) {
                    let [theirs, ours] = verdicts(both, &point, &digest, r, s);
                    assert_eq!(ours, theirs, "{:?}: {secret:x?} {digest:x?} {r:x?} {s:x?}", both.0);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn as_the_crate_judges(
        secret in prop::collection::vec(any::<u8>(), 48),
        digest in prop::sample::select(vec![32_usize, 48, 64]).prop_flat_map(|len| prop::collection::vec(any::<u8>(), len)),
        at in any::<prop::sample::Index>(),
        flip in 0_u8..8,
    ) {
        for both in BOTH {
            let Some((point, signature)) = signed(both.0, &secret, &digest) else { continue };
            let width = both.0.bytes();
            let (r, s) = signature.split_at(width);
            prop_assert_eq!(verdicts(both, &point, &digest, r, s), [true; 2]);
            // One bit of the signature, of the point, of the digest.
            let mut changed = [&point[1..], &signature, &digest].concat();
            let place = at.index(changed.len());
            changed[place] ^= 1 << flip;
            let (xy, rest) = changed.split_at(2 * width);
            let (numbers, digest) = rest.split_at(2 * width);
            let point = [&[4], xy].concat();
            let [theirs, ours] = verdicts(both, &point, digest, &numbers[..width], &numbers[width..]);
            prop_assert_eq!(ours, theirs);
            prop_assert_eq!(both.1.is_point(&xy[..width], &xy[width..]), PublicKey::from_point(both.0, &point).is_ok());
        }
    }
}
