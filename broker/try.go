package broker

import (
	"context"
	"time"

	"github.com/signetd/signet/protocol/ident"
)

// Tries counts attempts at guessable answers.
type Tries interface {
	// CountTry counts one try of an exchange before its answer is looked at and gives
	// the number so far. Counts are dropped some time after until.
	CountTry(ctx context.Context, by By, exchange ident.UUID, until time.Time) (int, error)
}
