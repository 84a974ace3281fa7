package broker

import (
	"context"
	"time"

	"github.com/signetd/signet/protocol/ident"
)

// An EnrolToken admits devices; its secret is never here.
type EnrolToken struct {
	Pool       ident.Pool
	ID         string // hex of the token's public id
	Key        []byte // Ed25519 public key that proves possession of the token
	Uses       int    // how many enrolments it admits
	Used       int
	Expires    time.Time
	Groups     []string
	Attributes map[string]string
	Replace    bool // may replace the key of a device that has one
	Approve    bool // devices come in pending, for an operator's approval
	Created    time.Time
}

// EnrolTokens keeps enrolment tokens.
type EnrolTokens interface {
	CreateEnrolToken(ctx context.Context, by By, t EnrolToken) error
	EnrolToken(ctx context.Context, pool ident.Pool, id string) (EnrolToken, error)
	// UpdateEnrolToken applies change to the stored token and writes it, in one
	// transaction; change's error ends it. Pool, id and key never change: ErrInvalid.
	UpdateEnrolToken(ctx context.Context, by By, pool ident.Pool, id string, change func(*EnrolToken) error) (EnrolToken, error)
	ListEnrolTokens(ctx context.Context, pool ident.Pool) ([]EnrolToken, error)
	DeleteEnrolToken(ctx context.Context, by By, pool ident.Pool, id string) error
}

// An Enrolment is the part of a Login that brings a device into its pool.
type Enrolment struct {
	Device  Device // as it is to be created; with Subject set
	TokenID string // empty: the key was registered before
	Now     time.Time
}
