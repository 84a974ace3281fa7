package protocol

import (
	"crypto/sha256"

	"github.com/signetd/signet/protocol/challenge"
	"github.com/signetd/signet/protocol/detcbor"
)

// A Transcript is the running SHA-256 over everything said in one exchange, in
// order: the opening message, then for each round the challenge's body and the
// whole answer. The zero value is the empty transcript.
//
//	t0 = SHA-256("signet-v1")
//	tn = SHA-256(tn-1 ‖ length as 4 bytes, big endian ‖ bytes)
//
// The session of a challenge is left out: it holds the transcript, and any other
// session put in its place brings another transcript, under which no proof fits.
type Transcript [sha256.Size]byte

// Add gives the transcript that follows when b is said.
func (t Transcript) Add(b []byte) Transcript {
	if t == (Transcript{}) {
		t = sha256.Sum256([]byte("signet-v1"))
	}
	buf := make([]byte, 0, 512)
	buf = append(buf, t[:]...)
	buf = lengthPrefix(buf, len(b))
	return sha256.Sum256(append(buf, b...))
}

// Purposes keep proofs of one key apart: none can stand for another. The purpose of
// a proof that answers a challenge is the challenge's name, challenge.Key or challenge.PSK.
const (
	PurposeEnroll      = challenge.Enroll
	PurposeEnrollToken = "enroll-token"
	PurposeRefresh     = "refresh"
	PurposeConnect     = "connect" // of a CONNECT: see ConnectProof.Input
	PurposeAnswer      = "answer"  // of a secret answer: see SecretInput
	PurposeKept        = "kept"    // of what a device notes of its shared key for itself; never sent
)

// SecretInput is what the proof of a sealed answer covers: that the holder of the
// device's key gave it, and nobody who stands in between. t ends with the challenge.
func SecretInput(t Transcript, sealed []byte) []byte { return ProofInput(PurposeAnswer, t.Add(sealed)) }

// proofContext begins what proofs cover, so that no other signature of a device's key is one.
const proofContext = "signet-proof-v1"

// ProofInput is what a proof signs or MACs: the CBOR array
// ["signet-proof-v1", purpose, transcript]. Both sides call it.
func ProofInput(purpose string, t Transcript) []byte {
	b := make([]byte, 0, 1+3*memberRoom+len(proofContext)+len(purpose)+len(t))
	b = detcbor.AppendText(detcbor.AppendHead(b, detcbor.Array, 3), proofContext)
	return detcbor.AppendBytes(detcbor.AppendText(b, purpose), t[:])
}
