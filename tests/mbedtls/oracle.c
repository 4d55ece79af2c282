/* What mbedTLS makes of ECDSA keys and signatures, for tests/device_curves.rs. The argument says how many random keys each
 * curve gets. Prints a line for each case, numbers in hex:
 *
 *     point   <curve> <kind> <0|1> <point>
 *     numbers <curve> <kind> <0|1> <point> <digest> <r> <s>
 *     der     <curve> <kind> <0|1> <point> <digest> <signature>
 *
 * Devices have 2.28, as Debian 12 has it.
 */
#define MBEDTLS_ALLOW_PRIVATE_ACCESS
#include <mbedtls/asn1write.h>
#include <mbedtls/ecdsa.h>
#include <mbedtls/ecp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MUST(call)                                                            \
    do {                                                                      \
        int rc = (call);                                                      \
        if (rc != 0) {                                                        \
            fprintf(stderr, "%s: -0x%x\n", #call, (unsigned) -rc);            \
            exit(2);                                                          \
        }                                                                     \
    } while (0)

static const struct {
    mbedtls_ecp_group_id id;
    const char *name;
} CURVES[] = {
    { MBEDTLS_ECP_DP_SECP224R1, "P-224" },
    { MBEDTLS_ECP_DP_SECP256R1, "P-256" },
    { MBEDTLS_ECP_DP_SECP384R1, "P-384" },
    { MBEDTLS_ECP_DP_SECP521R1, "P-521" },
    { MBEDTLS_ECP_DP_SECP256K1, "secp256k1" },
    { MBEDTLS_ECP_DP_BP256R1, "brainpoolP256r1" },
    { MBEDTLS_ECP_DP_BP384R1, "brainpoolP384r1" },
    { MBEDTLS_ECP_DP_BP512R1, "brainpoolP512r1" },
};

static uint64_t seed = 0x9E3779B97F4A7C15;

/* Nothing here has to be secret, and every run is the same. */
static int chance(void *unused, unsigned char *out, size_t len)
{
    (void) unused;
    for (size_t i = 0; i < len; i++) {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        out[i] = (unsigned char) (seed >> 24);
    }
    return 0;
}

static void hex(const unsigned char *bytes, size_t len)
{
    putchar(' ');
    for (size_t i = 0; i < len; i++)
        printf("%02x", bytes[i]);
}

static void number(const mbedtls_mpi *n)
{
    unsigned char bytes[80];
    size_t len = mbedtls_mpi_size(n);
    MUST(mbedtls_mpi_write_binary(n, bytes, len));
    hex(bytes, len);
}

static const char *curve;
static mbedtls_ecp_group grp;
static mbedtls_ecp_point Q;
static unsigned char point[160];
static size_t point_len;

static void say_point(const char *kind, const unsigned char *bytes, size_t len)
{
    mbedtls_ecp_point read;
    mbedtls_ecp_point_init(&read);
    int ok = mbedtls_ecp_point_read_binary(&grp, &read, bytes, len) == 0 && mbedtls_ecp_check_pubkey(&grp, &read) == 0;
    printf("point %s %s %d", curve, kind, ok);
    hex(bytes, len);
    putchar('\n');
    mbedtls_ecp_point_free(&read);
}

static void say_numbers(const char *kind, const unsigned char *digest, size_t len, const mbedtls_mpi *r, const mbedtls_mpi *s)
{
    int ok = mbedtls_ecdsa_verify(&grp, digest, len, &Q, r, s) == 0;
    printf("numbers %s %s %d", curve, kind, ok);
    hex(point, point_len);
    hex(digest, len);
    number(r);
    number(s);
    putchar('\n');
}

static void say_der(const char *kind, const unsigned char *digest, size_t len, const unsigned char *der, size_t der_len)
{
    mbedtls_ecdsa_context ctx;
    mbedtls_ecdsa_init(&ctx);
    MUST(mbedtls_ecp_group_copy(&ctx.grp, &grp));
    MUST(mbedtls_ecp_copy(&ctx.Q, &Q));
    int ok = mbedtls_ecdsa_read_signature(&ctx, digest, len, der, der_len) == 0;
    printf("der %s %s %d", curve, kind, ok);
    hex(point, point_len);
    hex(digest, len);
    hex(der, der_len);
    putchar('\n');
    mbedtls_ecdsa_free(&ctx);
}

/* One INTEGER: with `zeros` in front, however many it has to have. */
static size_t integer(unsigned char *out, const mbedtls_mpi *n, int zeros)
{
    size_t len = mbedtls_mpi_size(n);
    out[0] = 2;
    out[1] = (unsigned char) (len + (size_t) zeros);
    memset(out + 2, 0, (size_t) zeros);
    MUST(mbedtls_mpi_write_binary(n, out + 2 + zeros, len));
    return 2 + (size_t) zeros + len;
}

/* How many zeros DER wants. */
static int sign_byte(const mbedtls_mpi *n)
{
    return mbedtls_mpi_size(n) == 0 || mbedtls_mpi_bitlen(n) % 8 == 0;
}

static size_t sequence(unsigned char *out, const unsigned char *content, size_t len, int long_length)
{
    size_t at = 0;
    out[at++] = 0x30;
    if (long_length && len >= 0x80)
        out[at++] = 0x82, out[at++] = 0;
    else if (long_length || len >= 0x80)
        out[at++] = 0x81;
    out[at++] = (unsigned char) len;
    memcpy(out + at, content, len);
    return at + len;
}

static void spellings(const unsigned char *digest, size_t len, const mbedtls_mpi *r, const mbedtls_mpi *s)
{
    unsigned char inner[200], der[220], changed[230];
    int zr = sign_byte(r), zs = sign_byte(s);
    size_t n = integer(inner, r, zr);
    n += integer(inner + n, s, zs);
    size_t whole = sequence(der, inner, n, 0);
    say_der("good", digest, len, der, whole);

    say_der("cut", digest, len, der, whole - 1);
    say_der("nothing", digest, len, der, 0);
    memcpy(changed, der, whole);
    changed[whole] = 0;
    say_der("trailing", digest, len, changed, whole + 1);
    changed[0] = 0x31;
    say_der("a-set", digest, len, changed, whole);
    memcpy(changed, der, whole);
    changed[1] = 0x80;
    say_der("no-length", digest, len, changed, whole);

    size_t m = sequence(changed, inner, n, 1);
    say_der("long-length", digest, len, changed, m);
    n = integer(inner, r, zr + 1);
    n += integer(inner + n, s, zs);
    say_der("needless-zero", digest, len, changed, sequence(changed, inner, n, 0));
    if (zr) {
        n = integer(inner, r, 0);
        n += integer(inner + n, s, zs);
        say_der("no-sign-byte", digest, len, changed, sequence(changed, inner, n, 0));
    }
    n = integer(inner, r, zr);
    say_der("one-number", digest, len, changed, sequence(changed, inner, n, 0));
    n += integer(inner + n, s, zs);
    n += integer(inner + n, s, zs);
    say_der("three-numbers", digest, len, changed, sequence(changed, inner, n, 0));
    n = integer(inner, r, zr);
    inner[0] = 3;
    n += integer(inner + n, s, zs);
    say_der("bit-string", digest, len, changed, sequence(changed, inner, n, 0));
    mbedtls_mpi zero;
    mbedtls_mpi_init(&zero);
    n = integer(inner, &zero, 1);
    n += integer(inner + n, s, zs);
    say_der("r-is-0", digest, len, changed, sequence(changed, inner, n, 0));
    n = integer(inner, r, zr);
    n += integer(inner + n, &zero, 0);
    say_der("empty-s", digest, len, changed, sequence(changed, inner, n, 0));
    mbedtls_mpi_free(&zero);
}

static void numbers(const unsigned char *digest, size_t len, const mbedtls_mpi *d)
{
    mbedtls_mpi r, s, a, b, zero, one;
    mbedtls_mpi *all[] = { &r, &s, &a, &b, &zero, &one };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        mbedtls_mpi_init(all[i]);
    MUST(mbedtls_mpi_lset(&one, 1));
    MUST(mbedtls_ecdsa_sign(&grp, &r, &s, d, digest, len, chance, NULL));
    say_numbers("good", digest, len, &r, &s);
    MUST(mbedtls_mpi_sub_mpi(&a, &grp.N, &s));
    say_numbers("other-s", digest, len, &r, &a);
    MUST(mbedtls_mpi_sub_mpi(&a, &grp.N, &r));
    say_numbers("other-r", digest, len, &a, &s);
    say_numbers("swapped", digest, len, &s, &r);
    say_numbers("r-is-0", digest, len, &zero, &s);
    say_numbers("s-is-0", digest, len, &r, &zero);
    say_numbers("r-is-n", digest, len, &grp.N, &s);
    say_numbers("s-is-n", digest, len, &r, &grp.N);
    MUST(mbedtls_mpi_add_mpi(&a, &r, &grp.N));
    say_numbers("r-more", digest, len, &a, &s);
    MUST(mbedtls_mpi_add_mpi(&a, &s, &grp.N));
    say_numbers("s-more", digest, len, &r, &a);
    /* With small digests and small keys these may well be signatures. */
    say_numbers("chance", digest, len, &one, &one);
    MUST(mbedtls_mpi_sub_int(&a, &grp.N, 1));
    say_numbers("chance", digest, len, &a, &a);
    say_numbers("chance", digest, len, &r, &one);
    unsigned char other[64];
    memcpy(other, digest, len);
    other[len > mbedtls_mpi_size(&grp.N) ? 0 : len - 1] ^= 1;
    say_numbers("another-digest", other, len, &r, &s);
    /* With one that leads to the neutral point: e = -r·d, so that u1·G = -u2·Q. On P-521, whose numbers are no whole bytes, it
     * leads anywhere. */
    MUST(mbedtls_mpi_mul_mpi(&a, &r, d));
    MUST(mbedtls_mpi_mod_mpi(&a, &a, &grp.N));
    MUST(mbedtls_mpi_sub_mpi(&b, &grp.N, &a));
    size_t width = mbedtls_mpi_size(&grp.N);
    unsigned char e[66];
    MUST(mbedtls_mpi_write_binary(&b, e, width));
    say_numbers("neutral", e, width, &r, &s);
    /* And one where both products are the same point: e = r·d, so that their sum is a double. */
    MUST(mbedtls_mpi_write_binary(&a, e, width));
    say_numbers("chance", e, width, &r, &s);
    if (len == 32)
        spellings(digest, len, &r, &s);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        mbedtls_mpi_free(all[i]);
}

/* A signature where u1·G and u2·Q are one point, so that the last sum is a double: R = 2·u1·G, r = R.x, u2 = u1/d, s = r/u2. */
static void doubled(const mbedtls_mpi *d)
{
    mbedtls_mpi u, r, s, e, t;
    mbedtls_ecp_point R;
    mbedtls_mpi_init(&u), mbedtls_mpi_init(&r), mbedtls_mpi_init(&s), mbedtls_mpi_init(&e), mbedtls_mpi_init(&t);
    mbedtls_ecp_point_init(&R);
    MUST(mbedtls_ecp_gen_privkey(&grp, &u, chance, NULL));
    MUST(mbedtls_mpi_mul_int(&t, &u, 2));
    MUST(mbedtls_mpi_mod_mpi(&t, &t, &grp.N));
    MUST(mbedtls_ecp_mul(&grp, &R, &t, &grp.G, chance, NULL));
    MUST(mbedtls_mpi_mod_mpi(&r, &R.X, &grp.N));
    MUST(mbedtls_mpi_inv_mod(&t, &u, &grp.N)); /* 1/u2 = d/u */
    MUST(mbedtls_mpi_mul_mpi(&t, &t, d));
    MUST(mbedtls_mpi_mul_mpi(&t, &t, &r));
    MUST(mbedtls_mpi_mod_mpi(&s, &t, &grp.N));
    MUST(mbedtls_mpi_mul_mpi(&t, &s, &u));
    MUST(mbedtls_mpi_mod_mpi(&e, &t, &grp.N));
    size_t width = mbedtls_mpi_size(&grp.N);
    unsigned char digest[66];
    /* P-521 has no whole bytes; a digest of all of them would be shifted. */
    if (grp.nbits % 8 == 0) {
        MUST(mbedtls_mpi_write_binary(&e, digest, width));
        say_numbers("good", digest, width, &r, &s);
    }
    mbedtls_mpi_free(&u), mbedtls_mpi_free(&r), mbedtls_mpi_free(&s), mbedtls_mpi_free(&e), mbedtls_mpi_free(&t);
    mbedtls_ecp_point_free(&R);
}

static void key(const mbedtls_mpi *d)
{
    MUST(mbedtls_ecp_mul(&grp, &Q, d, &grp.G, chance, NULL));
    MUST(mbedtls_ecp_point_write_binary(&grp, &Q, MBEDTLS_ECP_PF_UNCOMPRESSED, &point_len, point, sizeof point));
    say_point("good", point, point_len);
    unsigned char changed[160];
    size_t half = (point_len - 1) / 2;
    memcpy(changed, point, point_len);
    changed[point_len - 1] ^= 1;
    say_point("beside", changed, point_len);
    memcpy(changed + 1, point + 1 + half, half);
    memcpy(changed + 1 + half, point + 1, half);
    say_point("swapped", changed, point_len);
    memcpy(changed, point, point_len);
    MUST(mbedtls_mpi_write_binary(&grp.P, changed + 1, half));
    say_point("x-is-p", changed, point_len);
    memset(changed + 1, 0, 2 * half);
    say_point("zeros", changed, point_len);
    memset(changed + 1, 0xff, 2 * half);
    say_point("ones", changed, point_len);
    say_point("neutral", (const unsigned char *) "", 1);
    memcpy(changed, point, point_len);
    changed[0] = (unsigned char) (2 + (point[point_len - 1] & 1));
    say_point("compressed", changed, 1 + half);
    say_point("hybrid", (changed[0] += 4, changed), point_len);
    say_point("cut", point, point_len - 1);
    memcpy(changed, point, point_len);
    changed[point_len] = 0;
    say_point("long", changed, point_len + 1);

    static const size_t SIZES[] = { 32, 48, 64 };
    unsigned char digest[64];
    for (size_t i = 0; i < sizeof SIZES / sizeof *SIZES; i++) {
        chance(NULL, digest, sizeof digest);
        numbers(digest, SIZES[i], d);
    }
    doubled(d);
}

int main(int argc, char **argv)
{
    int wanted = argc > 1 ? atoi(argv[1]) : 1;
    for (size_t i = 0; i < sizeof CURVES / sizeof *CURVES; i++) {
        mbedtls_mpi d;
        mbedtls_mpi_init(&d);
        mbedtls_ecp_group_init(&grp);
        mbedtls_ecp_point_init(&Q);
        MUST(mbedtls_ecp_group_load(&grp, CURVES[i].id));
        curve = CURVES[i].name;
        /* The generator itself, its opposite, and what is near them. */
        for (int small = 1; small <= 2; small++) {
            unsigned char digest[64];
            MUST(mbedtls_mpi_lset(&d, small));
            key(&d);
            memset(digest, small == 1 ? 0 : 0xff, sizeof digest);
            numbers(digest, sizeof digest, &d);
            MUST(mbedtls_mpi_sub_int(&d, &grp.N, small));
            key(&d);
        }
        for (int n = 0; n < wanted; n++) {
            MUST(mbedtls_ecp_gen_privkey(&grp, &d, chance, NULL));
            key(&d);
        }
        mbedtls_mpi_free(&d);
        mbedtls_ecp_point_free(&Q);
        mbedtls_ecp_group_free(&grp);
    }
    return 0;
}
