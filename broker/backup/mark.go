package backup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/signetd/signet/broker/config"
	"github.com/signetd/signet/broker/durable"
	"github.com/signetd/signet/protocol/strictjson"
)

// MarkFile is the file of a data folder's Mark.
const MarkFile = "signet.mark"

// markEvery is how often a Mark follows the store. What an older copy may lack unseen
// is what was written in that time before a crash.
const markEvery = 10 * time.Second

// A Mark is how far the store of a data folder has come, remembered beside it: an older
// copy that somebody put in its place has not come so far. Who puts back the whole
// folder puts back the mark, too; then the devices know better.
type Mark struct {
	Epoch  uint64 `json:"epoch"`
	Record uint64 `json:"record"` // the journal's last
}

// Marked is the part of a store that a Mark is about.
type Marked interface {
	Epoch(ctx context.Context) (uint64, error)
	Last(ctx context.Context) (uint64, error)
}

// An OlderError: the store in a data folder is older than the folder's mark.
type OlderError struct {
	Path      string
	Has, Know Mark
}

func (e *OlderError) Error() string {
	if e.Has.Epoch != e.Know.Epoch {
		return fmt.Sprintf("store %s is an older copy: it is of epoch %d, and was of epoch %d in this folder", e.Path, e.Has.Epoch, e.Know.Epoch)
	}
	return fmt.Sprintf("store %s is an older copy: its last record is %d, and was %d in this folder", e.Path, e.Has.Record, e.Know.Record)
}

// A DamagedMarkError: the mark in a data folder is there and is none.
type DamagedMarkError struct {
	Path string // the mark's file
	Err  error  // what is wrong with it
}

func (e *DamagedMarkError) Error() string {
	return fmt.Sprintf("%s is damaged, so whether the store beside it is an older copy cannot be told: %v", e.Path, e.Err)
}

// Unwrap gives what is wrong with the mark.
func (e *DamagedMarkError) Unwrap() error { return e.Err }

// CheckMark compares the store of a data folder with the folder's mark. Errors:
// *OlderError, *DamagedMarkError, and those of the store and the file. A folder without a mark tells nothing.
func CheckMark(ctx context.Context, cfg *config.Config, s Marked) error {
	know, err := readMark(cfg)
	if err != nil {
		return err
	}
	has, err := markOf(ctx, s)
	if err != nil {
		return err
	}
	if has.Epoch < know.Epoch || has.Epoch == know.Epoch && has.Record < know.Record {
		return &OlderError{Path: cfg.StorePath(), Has: has, Know: know}
	}
	return nil
}

// WriteMark makes the folder's mark that of the store.
func WriteMark(ctx context.Context, cfg *config.Config, s Marked) error {
	m, err := markOf(ctx, s)
	if err != nil {
		return err
	}
	return writeMark(cfg, m)
}

// KeepMark writes the mark whenever the store has come further, until ctx ends.
func KeepMark(ctx context.Context, cfg *config.Config, s Marked, log *slog.Logger) {
	t := time.NewTicker(markEvery)
	defer t.Stop()
	var last Mark
	for {
		m, err := markOf(ctx, s)
		if err == nil && m != last {
			err = writeMark(cfg, m)
		}
		switch {
		case err == nil:
			last = m
		case ctx.Err() == nil: // a full disk: the next one may do
			log.WarnContext(ctx, "how far the store has come is not written down", "file", MarkFile, "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

func markOf(ctx context.Context, s Marked) (m Mark, err error) {
	if m.Epoch, err = s.Epoch(ctx); err != nil {
		return m, err
	}
	m.Record, err = s.Last(ctx)
	return m, err
}

func readMark(cfg *config.Config) (m Mark, err error) {
	path := filepath.Join(cfg.Data, MarkFile)
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	if err != nil {
		return m, fmt.Errorf("how far the store had come cannot be read: %w", err)
	}
	if err := strictjson.Unmarshal(raw, strictjson.MaxSize, &m); err != nil {
		return Mark{}, &DamagedMarkError{Path: path, Err: err}
	}
	return m, nil
}

func writeMark(cfg *config.Config, m Mark) error {
	raw, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return durable.Replace(filepath.Join(cfg.Data, MarkFile), func(f *os.File) error {
		_, err := f.Write(append(raw, '\n'))
		return err
	})
}
