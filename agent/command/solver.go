package command

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/signetd/signet/agent"
)

// maxAnswer bounds what a program may answer, in bytes; the protocol's own limit
// on answers is lower.
const maxAnswer = 16 << 10

// answerWith runs a program for a custom challenge: the kind is its argument, the
// parameters come as JSON on its standard input, the answer is its output without
// the last newline.
func answerWith(path string) agent.Solver {
	return func(ctx context.Context, kind string, params map[string]string) ([]byte, error) {
		in, err := json.Marshal(params)
		if err != nil {
			return nil, err
		}
		out, err := runProgram(ctx, path, kind, in)
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", path, kind, err)
		}
		return bytes.TrimSuffix(out, []byte("\n")), nil
	}
}

// runProgram gives what the program at path writes, at most maxAnswer bytes. When
// ctx ends the program is killed. It is little of os/exec, which would make the
// agent some 70 kB larger.
func runProgram(ctx context.Context, path, arg string, in []byte) ([]byte, error) {
	file, err := lookPath(path)
	if err != nil {
		return nil, err
	}
	stdin, feed, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer feed.Close() //nolint:errcheck // closed before, but after an error
	stdout, sink, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, stdin.Close())
	}
	defer stdout.Close() //nolint:errcheck // read to its end
	p, err := os.StartProcess(file, []string{path, arg}, &os.ProcAttr{Files: []*os.File{stdin, sink, os.Stderr}})
	err = errors.Join(err, stdin.Close(), sink.Close())
	if p == nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() {
		_ = p.Kill()
		_ = stdout.SetReadDeadline(time.Unix(1, 0)) // what it started may hold the pipe
	})
	defer stop()
	go func() {
		_, _ = feed.Write(in) // it need not read
		_ = feed.Close()
	}()
	out, readErr := io.ReadAll(io.LimitReader(stdout, maxAnswer+1))
	if len(out) > maxAnswer {
		_ = p.Kill()
		readErr = fmt.Errorf("it writes more than %d bytes", maxAnswer)
	}
	state, err := p.Wait()
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case readErr != nil || err != nil:
		return nil, errors.Join(readErr, err)
	case !state.Success():
		return nil, errors.New(state.String())
	}
	return out, nil
}

// lookPath finds a program that is named without a folder, as a shell does.
func lookPath(path string) (string, error) {
	if strings.Contains(path, "/") {
		return path, nil
	}
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		file := filepath.Join(dir, path)
		if info, err := os.Stat(file); err == nil && filepath.IsAbs(dir) && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return file, nil
		}
	}
	return "", fmt.Errorf("not found in $PATH: %w", fs.ErrNotExist)
}
