/* Reads golden vectors from standard input, as lines of words, and says which of
 * them this code gets wrong. It is what a client in C begins with, written from
 * docs/protocol.md, sections 3 to 5: strict CBOR, the call id, the transcript, the
 * input of a proof, thumbprints. C99 and nothing else.
 *
 *   cbor ok|bad HEX                one item, deterministic or not
 *   call ID|- HEX                  a message and its call id, - for none
 *   transcript PART... = AFTER...  the transcript after each part; - is no bytes
 *   proof PURPOSE T INPUT          what a proof signs
 *   sha256 HEX SUM                 a thumbprint
 *   connect CHANNEL ID ACCESS PROOF INPUT PASSWORD
 *                                  what a connect proof signs, and the password it makes
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Deterministic CBOR (section 3) ---------------------------------------------- */

struct in { const uint8_t *p; size_t left; };

static int head(struct in *in, int *major, uint64_t *arg)
{
	uint8_t first;
	int info, size, i;

	if (in->left == 0)
		return 0;
	first = *in->p++;
	in->left--;
	*major = first >> 5;
	info = first & 31;
	*arg = (uint64_t)info;
	if (*major == 7)
		return info >= 20 && info <= 22; /* false, true, null */
	if (*major == 6 || info > 27)
		return 0; /* tags, indefinite lengths */
	if (info < 24)
		return 1;
	size = 1 << (info - 24);
	if (in->left < (size_t)size)
		return 0;
	for (*arg = 0, i = 0; i < size; i++)
		*arg = *arg << 8 | *in->p++;
	in->left -= (size_t)size;
	if (size == 1 ? *arg < 24 : *arg >> (4 * size) == 0)
		return 0; /* a shorter form would have done */
	return *arg >> 63 == 0;
}

static int utf8(const uint8_t *p, size_t n)
{
	static const uint32_t least[] = { 0, 0x80, 0x800, 0x10000 };
	while (n > 0) {
		int more = *p < 0x80 ? 0 : *p >> 5 == 6 ? 1 : *p >> 4 == 14 ? 2 : *p >> 3 == 30 ? 3 : -1, i;
		uint32_t c = more > 0 ? *p & (0x3f >> more) : *p;
		if (more < 0 || n < (size_t)more + 1)
			return 0;
		for (i = 1; i <= more; i++) {
			if (p[i] >> 6 != 2)
				return 0;
			c = c << 6 | (p[i] & 0x3f);
		}
		if (c < least[more] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
			return 0;
		p += more + 1;
		n -= (size_t)more + 1;
	}
	return 1;
}

static int item(struct in *in, int depth)
{
	const uint8_t *last = NULL;
	size_t lastlen = 0;
	uint64_t n, i;
	int major;

	if (!head(in, &major, &n))
		return 0;
	if (major < 2 || major == 7)
		return 1;
	if (major < 4) {
		if (n > in->left || (major == 3 && !utf8(in->p, (size_t)n)))
			return 0;
		in->p += n;
		in->left -= (size_t)n;
		return 1;
	}
	if (depth > 8 || n > 256)
		return 0;
	for (i = 0; i < n; i++) {
		const uint8_t *key = in->p;
		size_t len;
		int order;
		if (major == 5) {
			if (in->left == 0 || *key >> 5 > 3 || !item(in, depth + 1))
				return 0;
			len = (size_t)(in->p - key);
			order = last == NULL ? -1 : memcmp(last, key, lastlen < len ? lastlen : len);
			if (order > 0 || (order == 0 && lastlen >= len))
				return 0; /* twice, or out of order */
			last = key;
			lastlen = len;
		}
		if (!item(in, depth + 1))
			return 0;
	}
	return 1;
}

static int deterministic(const uint8_t *p, size_t n)
{
	struct in in = { p, n };
	return item(&in, 1) && in.left == 0;
}

/* The call id, at its one place (section 4); NULL if there is none. */
static const uint8_t *call(const uint8_t *p, size_t n)
{
	if (n > 16384 || !deterministic(p, n) || n < 23 || p[0] >> 5 != 5)
		return NULL;
	return p[1] == 0 && p[2] < 24 && p[3] == 1 && p[4] < 24 && p[5] == 2 && p[6] == 0x50 ? p + 7 : NULL;
}

/* SHA-256 (FIPS 180-4) ---------------------------------------------------------- */

static const uint32_t K[64] = {
	0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be,
	0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa,
	0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85,
	0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3,
	0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f,
	0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t ror(uint32_t x, int n) { return x >> n | x << (32 - n); }

static void block(uint32_t h[8], const uint8_t *p)
{
	uint32_t w[64], v[8], a, b;
	int i;

	for (i = 0; i < 16; i++)
		w[i] = (uint32_t)p[4 * i] << 24 | (uint32_t)p[4 * i + 1] << 16 | (uint32_t)p[4 * i + 2] << 8 | p[4 * i + 3];
	for (; i < 64; i++)
		w[i] = w[i - 16] + w[i - 7] + (ror(w[i - 15], 7) ^ ror(w[i - 15], 18) ^ w[i - 15] >> 3) + (ror(w[i - 2], 17) ^ ror(w[i - 2], 19) ^ w[i - 2] >> 10);
	memcpy(v, h, sizeof v);
	for (i = 0; i < 64; i++) {
		a = v[7] + (ror(v[4], 6) ^ ror(v[4], 11) ^ ror(v[4], 25)) + ((v[4] & v[5]) ^ (~v[4] & v[6])) + K[i] + w[i];
		b = (ror(v[0], 2) ^ ror(v[0], 13) ^ ror(v[0], 22)) + ((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]));
		memmove(v + 1, v, 7 * sizeof *v);
		v[4] += a;
		v[0] = a + b;
	}
	for (i = 0; i < 8; i++)
		h[i] += v[i];
}

static void sha256(uint8_t out[32], const uint8_t *p, size_t n)
{
	uint32_t h[8] = { 0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19 };
	uint8_t end[128] = { 0 };
	size_t rest = n % 64, padded = rest < 56 ? 64 : 128, i;

	for (i = 0; i + 64 <= n; i += 64)
		block(h, p + i);
	if (rest > 0)
		memcpy(end, p + n - rest, rest);
	end[rest] = 0x80;
	for (i = 0; i < 8; i++)
		end[padded - 1 - i] = (uint8_t)((uint64_t)n * 8 >> 8 * i);
	for (i = 0; i < padded; i += 64)
		block(h, end + i);
	for (i = 0; i < 32; i++)
		out[i] = (uint8_t)(h[i / 4] >> (24 - 8 * (i % 4)));
}

/* Transcript and proof (section 5) ------------------------------------------------- */

static uint8_t scratch[65536];

static void begin(uint8_t t[32]) { sha256(t, (const uint8_t *)"signet-v1", 9); }

static void add(uint8_t t[32], const uint8_t *p, size_t n)
{
	memcpy(scratch, t, 32);
	scratch[32] = (uint8_t)(n >> 24);
	scratch[33] = (uint8_t)(n >> 16);
	scratch[34] = (uint8_t)(n >> 8);
	scratch[35] = (uint8_t)n;
	memcpy(scratch + 36, p, n);
	sha256(t, scratch, 36 + n);
}

/* ["signet-proof-v1", purpose, t]; a purpose is shorter than 24. */
static size_t proof_input(uint8_t *out, const char *purpose, const uint8_t t[32])
{
	size_t n = strlen(purpose);
	memcpy(out, "\x83\x6fsignet-proof-v1", 17);
	out[17] = (uint8_t)(0x60 | n);
	memcpy(out + 18, purpose, n);
	out[18 + n] = 0x58;
	out[19 + n] = 32;
	memcpy(out + 20 + n, t, 32);
	return 52 + n;
}

/* CONNECT's password (section 2): {1: access, 2: channel, 3: proof}. Channel, client id and access
 * token in this order are the transcript of the proof "connect". */
static size_t connect_input(uint8_t *out, const uint8_t channel[32], const char *id, const uint8_t *access, size_t n)
{
	uint8_t t[32];

	begin(t);
	add(t, channel, 32);
	add(t, (const uint8_t *)id, strlen(id));
	add(t, access, n);
	return proof_input(out, "connect", t);
}

static size_t bytes(uint8_t *out, const uint8_t *p, size_t n)
{
	size_t at = 0;

	if (n < 24) {
		out[at++] = (uint8_t)(0x40 | n);
	} else if (n < 256) {
		out[at++] = 0x58;
		out[at++] = (uint8_t)n;
	} else {
		out[at++] = 0x59;
		out[at++] = (uint8_t)(n >> 8);
		out[at++] = (uint8_t)n;
	}
	memcpy(out + at, p, n);
	return at + n;
}

static size_t connect_password(uint8_t *out, const uint8_t *access, size_t n, const uint8_t channel[32], const uint8_t *proof, size_t m)
{
	size_t at = 0;

	out[at++] = 0xa3;
	out[at++] = 1;
	at += bytes(out + at, access, n);
	out[at++] = 2;
	at += bytes(out + at, channel, 32);
	out[at++] = 3;
	return at + bytes(out + at, proof, m);
}

/* The lines ------------------------------------------------------------------------ */

static size_t unhex(uint8_t *out, const char *s)
{
	size_t n = strcmp(s, "-") == 0 ? 0 : strlen(s) / 2, i;
	for (i = 0; i < n; i++) {
		unsigned byte;
		if (sscanf(s + 2 * i, "%2x", &byte) != 1)
			exit(2);
		out[i] = (uint8_t)byte;
	}
	return n;
}

static char line[262144];
static uint8_t a[65536], b[65536], c[65536], d[65536], e[32];

static int connects(void)
{
	char *word[6];
	size_t access, proof, n;
	int i;

	for (i = 0; i < 6; i++)
		if ((word[i] = strtok(NULL, " \n")) == NULL)
			return 0;
	if (strlen(word[0]) != 64 || unhex(e, word[0]) != 32)
		return 0;
	access = unhex(b, word[2]);
	n = connect_input(c, e, word[1], b, access);
	if (unhex(d, word[4]) != n || memcmp(c, d, n) != 0)
		return 0;
	proof = unhex(a, word[3]);
	n = connect_password(c, b, access, e, a, proof);
	return unhex(d, word[5]) == n && memcmp(c, d, n) == 0;
}

static int transcript(void)
{
	char *parts[16], *word;
	uint8_t t[32];
	int n = 0, i;

	while ((word = strtok(NULL, " \n")) != NULL && strcmp(word, "=") != 0 && n < 16)
		parts[n++] = word;
	begin(t);
	for (i = 0; i < n; i++) {
		add(t, a, unhex(a, parts[i]));
		if ((word = strtok(NULL, " \n")) == NULL || unhex(b, word) != 32 || memcmp(t, b, 32) != 0)
			return 0;
	}
	return n > 0;
}

static int right(const char *what)
{
	char *one = NULL, *two = NULL;
	size_t n;

	if (strcmp(what, "transcript") == 0)
		return transcript();
	if (strcmp(what, "connect") == 0)
		return connects();
	if ((one = strtok(NULL, " \n")) == NULL || (two = strtok(NULL, " \n")) == NULL)
		return 0;
	if (strcmp(what, "cbor") == 0)
		return deterministic(a, unhex(a, two)) == (strcmp(one, "ok") == 0);
	if (strcmp(what, "call") == 0) {
		const uint8_t *id = call(a, unhex(a, two));
		return id == NULL ? strcmp(one, "-") == 0 : unhex(b, one) == 16 && memcmp(id, b, 16) == 0;
	}
	if (strcmp(what, "sha256") == 0) {
		sha256(c, a, unhex(a, one));
		return unhex(b, two) == 32 && memcmp(b, c, 32) == 0;
	}
	if (strcmp(what, "proof") == 0) {
		char *input = strtok(NULL, " \n");
		if (input == NULL || unhex(a, two) != 32)
			return 0;
		n = proof_input(b, one, a);
		return unhex(c, input) == n && memcmp(b, c, n) == 0;
	}
	return 0;
}

int main(void)
{
	int lines = 0, wrong = 0;

	while (fgets(line, sizeof line, stdin) != NULL) {
		char *what = strtok(line, " \n");
		lines++;
		if (what == NULL || !right(what)) {
			printf("wrong: line %d, %s\n", lines, what == NULL ? "" : what);
			wrong++;
		}
	}
	printf("%d lines, %d wrong\n", lines, wrong);
	return lines == 0 || wrong > 0;
}
