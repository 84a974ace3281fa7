package command

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/signetd/signet/certs"
	"github.com/signetd/signet/protocol/textfile"
)

// A bringing names the files of a certificate authority that an operator has.
type bringing struct{ root, rootKey, intermediate, intermediateKey string }

func (b *bringing) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&b.root, "ca-root", "", "bring a root certificate: `file`, PEM")
	f.StringVar(&b.rootKey, "ca-root-key", "", "its private key, to make an intermediate under it; not kept: `file`, PEM")
	f.StringVar(&b.intermediate, "ca-intermediate", "", "or bring the intermediate too, which then issues: `file`, PEM")
	f.StringVar(&b.intermediateKey, "ca-intermediate-key", "", "the intermediate's private key: `file`, PEM")
}

// maxBrought bounds each file, in bytes. Chosen arbitrarily.
const maxBrought = 64 << 10

// errReadableKey is wrapped for a private key that others can read.
var errReadableKey = errors.New("others can read it")

// options reads the files. What they hold is certs' to judge.
func (b *bringing) options() (certs.Options, error) {
	var o certs.Options
	for _, f := range []struct {
		flag, path string
		secret     bool
		to         *[]byte
	}{
		{"--ca-root", b.root, false, &o.Root}, {"--ca-root-key", b.rootKey, true, &o.RootKey},
		{"--ca-intermediate", b.intermediate, false, &o.Intermediate}, {"--ca-intermediate-key", b.intermediateKey, true, &o.IntermediateKey},
	} {
		if f.path == "" {
			continue
		}
		raw, err := readBrought(f.path, f.secret)
		if err != nil {
			return o, fmt.Errorf("%s: %w", f.flag, err)
		}
		*f.to = raw
	}
	return o, nil
}

func readBrought(path string, secret bool) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if mode := info.Mode().Perm(); secret && mode&0o077 != 0 {
		return nil, &nextError{fmt.Errorf("%s: %w, its mode is %04o", path, errReadableKey, mode), "chmod 600 " + quoted(path)}
	}
	raw, err := io.ReadAll(io.LimitReader(f, maxBrought+1))
	if err != nil {
		return nil, err
	}
	if len(raw) > maxBrought {
		return nil, fmt.Errorf("%s: more than %d bytes", path, maxBrought)
	}
	if raw, err = textfile.Plain(raw); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return raw, nil
}
