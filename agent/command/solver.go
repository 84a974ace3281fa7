package command

import (
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

// answerTime is how long a program may take: less than a call (agent.Run).
const answerTime = 25 * time.Second

// Errors of who answers.
var (
	errAnswerMissing = errors.New("no such program")
	errAnswerMode    = errors.New("the program cannot be run")
	errAnswerSlow    = errors.New("the program gives no answer in time")
	errAnswerFailed  = errors.New("the program gives no answer")
)

// answerWith runs a program for a custom challenge: the kind is its argument, the
// parameters come as JSON on its standard input, the answer is its output without
// the end of its last line.
func answerWith(path string, within time.Duration) agent.Solver {
	return func(ctx context.Context, kind string, params map[string]string) ([]byte, error) {
		in, err := json.Marshal(params)
		if err != nil {
			return nil, err
		}
		limited, cancel := context.WithTimeout(ctx, within)
		defer cancel()
		out, err := runProgram(limited, path, kind, in)
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case limited.Err() != nil:
			return nil, fmt.Errorf("%w: %s %s, within %v", errAnswerSlow, path, kind, within)
		case err != nil:
			return nil, fmt.Errorf("%s %s: %w", path, kind, err)
		}
		return []byte(withoutLineEnd(string(out))), nil
	}
}

// withoutLineEnd is a text without the end of its last line, if that has one: LF, or CR LF as
// programs and files of other systems have it.
func withoutLineEnd(text string) string {
	line, ended := strings.CutSuffix(text, "\n")
	if ended {
		line = strings.TrimSuffix(line, "\r")
	}
	return line
}

// runProgram gives what the program at path writes, at most maxAnswer bytes. When
// ctx ends the program is killed. It is little of os/exec, which would make the
// agent some 70 kB larger.
func runProgram(ctx context.Context, path, arg string, in []byte) ([]byte, error) {
	if err := executable(path); err != nil {
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
	p, err := os.StartProcess(path, []string{path, arg}, &os.ProcAttr{Files: []*os.File{stdin, sink, os.Stderr}})
	if err != nil { // it is there, so its first line is wrong
		err = fmt.Errorf("%w: %w; a script begins with #! and the path of a program that is there", errAnswerMode, err)
	}
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
		return nil, fmt.Errorf("%w: %s", errAnswerFailed, state)
	}
	return out, nil
}

// answerCommand finds the program that --answer-command names, a path or, without a folder
// and if no file here has that name, what a shell would find.
func answerCommand(named string) (string, error) {
	if _, err := os.Lstat(named); err != nil && !strings.Contains(named, "/") {
		for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
			if file := filepath.Join(dir, named); filepath.IsAbs(dir) && executable(file) == nil {
				return file, nil
			}
		}
	}
	path, err := filepath.Abs(named)
	if err != nil {
		return "", err
	}
	return path, executable(path)
}

// executable tells whether a program can be run, before it has to be.
func executable(path string) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: %s", errAnswerMissing, path)
	case err != nil:
		return err
	case info.IsDir():
		return fmt.Errorf("%w: %s is a folder", errAnswerMissing, path)
	case info.Mode()&0o111 == 0:
		return fmt.Errorf("%w: %s has mode %04o", errAnswerMode, path, info.Mode().Perm())
	}
	return nil
}
