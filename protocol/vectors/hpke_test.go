package vectors_test

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"testing"
)

// HPKE base mode by hand (RFC 9180, sections 4 to 6), because the library chooses
// its ephemeral key itself and vectors need a fixed one. What this seals, the
// library must open.

type sealing struct {
	Info         string `json:"info"`
	AAD          string `json:"aad"`
	Recipient    string `json:"recipient_private"`
	Ephemeral    string `json:"ephemeral_private"`
	Enc          string `json:"enc"`
	SharedSecret string `json:"shared_secret"`
	Key          string `json:"key"`
	Nonce        string `json:"nonce"`
	Plain        string `json:"plain"`
	Sealed       string `json:"sealed"`
}

func labeledExtract(suite, salt []byte, label string, ikm []byte) []byte {
	prk, err := hkdf.Extract(sha256.New, slices.Concat([]byte("HPKE-v1"), suite, []byte(label), ikm), salt)
	if err != nil {
		panic(err)
	}
	return prk
}

func labeledExpand(suite, prk []byte, label string, info []byte, n int) []byte {
	full := slices.Concat(binary.BigEndian.AppendUint16(nil, uint16(n)), []byte("HPKE-v1"), suite, []byte(label), info)
	out, err := hkdf.Expand(sha256.New, prk, string(full), n)
	if err != nil {
		panic(err)
	}
	return out
}

func sealFixed(t *testing.T, to, ephemeral *ecdh.PrivateKey, info string, aad, plain []byte) ([]byte, sealing) {
	t.Helper()
	kem := []byte{'K', 'E', 'M', 0, 0x20}
	suite := []byte{'H', 'P', 'K', 'E', 0, 0x20, 0, 1, 0, 1}
	enc := ephemeral.PublicKey().Bytes()
	dh, err := ephemeral.ECDH(to.PublicKey())
	if err != nil {
		t.Fatal(err)
	}
	shared := labeledExpand(kem, labeledExtract(kem, nil, "eae_prk", dh), "shared_secret", slices.Concat(enc, to.PublicKey().Bytes()), 32)
	context := slices.Concat([]byte{0}, labeledExtract(suite, nil, "psk_id_hash", nil), labeledExtract(suite, nil, "info_hash", []byte(info)))
	secret := labeledExtract(suite, shared, "secret", nil)
	key, nonce := labeledExpand(suite, secret, "key", context, 16), labeledExpand(suite, secret, "base_nonce", context, 12)
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	sealed := aead.Seal(slices.Clone(enc), nonce, plain, aad)
	return sealed, sealing{
		Info: info, AAD: hexOf(aad), Recipient: hexOf(to.Bytes()), Ephemeral: hexOf(ephemeral.Bytes()), Enc: hexOf(enc),
		SharedSecret: hexOf(shared), Key: hexOf(key), Nonce: hexOf(nonce), Plain: hexOf(plain), Sealed: hexOf(sealed),
	}
}
