package certs

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// The files of an authority's folder. root.key is needed by nobody after Create:
// take it away, to a safe, and the authority goes on.
const (
	RootFile            = "root.pem"
	RootKeyFile         = "root.key"
	IntermediateFile    = "intermediate.pem"
	IntermediateKeyFile = "intermediate.key"
)

// maxFile bounds each of these files, in bytes. Chosen arbitrarily: a chain of
// ten RSA certificates fits.
const maxFile = 64 << 10

// material is what an authority is made of. rootKey is nil when it is not here.
type material struct {
	roots   []*x509.Certificate // ours, the one that the chain ends at, first
	chain   []*x509.Certificate // the issuer first
	rootKey crypto.Signer
	key     crypto.Signer // the issuer's
}

// readFolder loads a folder. With a signer from outside, no key file is looked for.
func readFolder(dir string, signer crypto.Signer) (material, error) {
	m := material{key: signer}
	var err error
	if m.roots, err = readCertificates(filepath.Join(dir, RootFile)); err != nil {
		return material{}, err
	}
	if m.chain, err = readCertificates(filepath.Join(dir, IntermediateFile)); err != nil {
		return material{}, err
	}
	m.rootKey, err = readKey(filepath.Join(dir, RootKeyFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return material{}, err
	}
	if signer == nil {
		m.key, err = readKey(filepath.Join(dir, IntermediateKeyFile))
		if err != nil {
			return material{}, err
		}
		if !samePublic(m.chain[0].PublicKey, m.key.Public()) { // a replacement is between its two steps
			next, err := nextChain(filepath.Join(dir, IntermediateFile), m.key)
			if err != nil {
				return material{}, err
			}
			if next != nil {
				m.chain = next
			}
		}
	}
	m.oursFirst()
	return m, nil
}

// oursFirst puts the root first that the chain ends at. The others are those that devices
// are to believe, too: the next one, or the last. Their keys are not ours.
func (m *material) oursFirst() {
	top := m.chain[len(m.chain)-1]
	ours := slices.IndexFunc(m.roots, func(r *x509.Certificate) bool { return r.Equal(top) || top.CheckSignatureFrom(r) == nil })
	if ours < 1 {
		return
	}
	root := m.roots[ours]
	m.roots = append([]*x509.Certificate{root}, slices.Delete(slices.Clone(m.roots), ours, ours+1)...)
	others := func(r *x509.Certificate) bool { return samePublic(r.PublicKey, m.rootKey.Public()) }
	if m.rootKey != nil && !samePublic(root.PublicKey, m.rootKey.Public()) && slices.ContainsFunc(m.roots[1:], others) {
		m.rootKey = nil
	}
}

func readCertificates(path string) ([]*x509.Certificate, error) {
	raw, err := readBounded(path, false)
	if err != nil {
		return nil, err
	}
	list, err := parseCertificates(raw)
	if err != nil {
		return nil, &FileError{path, err}
	}
	return list, nil
}

func readKey(path string) (crypto.Signer, error) {
	raw, err := readBounded(path, true)
	if err != nil {
		return nil, err
	}
	key, err := parseKey(raw)
	if err != nil {
		return nil, &FileError{path, err}
	}
	return key, nil
}

// readBounded reads a small regular file. The mode is asked of the open file, so
// that nobody can swap the file between the check and the read.
func readBounded(path string, secret bool) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fileError(path, err)
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, fileError(path, err)
	case !info.Mode().IsRegular():
		return nil, &FileError{path, fmt.Errorf("%w: not a regular file", ErrMalformed)}
	case secret && info.Mode().Perm()&0o077 != 0:
		return nil, &FileError{path, fmt.Errorf("%w, its mode is %04o: run `chmod 600 %s`", ErrKeyMode, info.Mode().Perm(), path)}
	}
	raw, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fileError(path, err)
	}
	if len(raw) > maxFile {
		return nil, &FileError{path, fmt.Errorf("%w: more than %d bytes", ErrMalformed, maxFile)}
	}
	return raw, nil
}

// writeFolder makes dir with all of the authority's files at once: they are
// written and synced beside it, then renamed into place. A crash leaves either
// no folder or a whole one.
func writeFolder(dir string, m material) (err error) {
	dir = filepath.Clean(dir)
	parent := filepath.Dir(dir)
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return fileError(parent, err)
	}
	if err := removeEmpty(dir); err != nil {
		return err
	}
	unfinished := filepath.Join(parent, "."+filepath.Base(dir)+"-new-")
	if err := removeLeftovers(unfinished); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(parent, filepath.Base(unfinished)+"*")
	if err != nil {
		return fileError(parent, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(tmp))
		}
	}()
	if err := writeFiles(tmp, m); err != nil {
		return err
	}
	if err := os.Rename(tmp, dir); err != nil {
		if errors.Is(err, fs.ErrExist) {
			err = ErrExists
		}
		return &FileError{dir, err}
	}
	return syncDir(parent)
}

// removeEmpty makes way for the new folder, and for nothing but an empty one.
func removeEmpty(dir string) error {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fileError(dir, err)
	case len(entries) > 0:
		return &FileError{dir, fmt.Errorf("%w: it holds %s", ErrExists, entries[0].Name())}
	}
	if err := os.Remove(dir); err != nil {
		return fileError(dir, err)
	}
	return nil
}

// removeLeftovers removes what runs that a crash ended have left: private keys that
// nobody will use. Each is renamed first, so that a run that is still at it, with
// the same folder, fails whole instead of putting half of its files into place.
func removeLeftovers(prefix string) error {
	left, err := filepath.Glob(escape(prefix) + "*")
	if err != nil {
		return fileError(prefix, err)
	}
	for _, path := range left {
		gone := path + ".gone"
		if strings.HasSuffix(path, ".gone") {
			gone = path
		} else if err := os.Rename(path, gone); err != nil {
			return fileError(path, err)
		}
		if err := os.RemoveAll(gone); err != nil {
			return fileError(gone, err)
		}
	}
	return nil
}

// escape makes path stand for itself in a pattern of filepath.Match.
func escape(path string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(path)
}

func writeFiles(dir string, m material) error {
	if err := writeSynced(filepath.Join(dir, RootFile), encodeCertificates(m.roots), 0o644); err != nil {
		return err
	}
	if err := writeSynced(filepath.Join(dir, IntermediateFile), encodeCertificates(m.chain), 0o644); err != nil {
		return err
	}
	if err := writeKey(filepath.Join(dir, IntermediateKeyFile), m.key); err != nil {
		return err
	}
	if m.rootKey != nil {
		if err := writeKey(filepath.Join(dir, RootKeyFile), m.rootKey); err != nil {
			return err
		}
	}
	return syncDir(dir)
}

func writeKey(path string, key crypto.Signer) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return &FileError{path, fmt.Errorf("encoding the key: %w", err)}
	}
	return writeSynced(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)
}

func writeSynced(path string, data []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return fileError(path, err)
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return fileError(path, err)
	}
	return nil
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return fileError(dir, err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return fileError(dir, err)
	}
	return nil
}
