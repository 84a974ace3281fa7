package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// A hunk is a place in a file and what comes there, in whole lines.
type hunk struct{ file, old, new string }

// parse reads a patch: what it says of itself, and its hunks in order.
func parse(patch string) (about string, hunks []hunk, err error) {
	var file string
	for line := range strings.Lines(patch) {
		inside := len(hunks) > 0 && hunks[len(hunks)-1].file == file && file != ""
		if line == "\n" {
			line = " \n" // as editors leave an empty line
		}
		mark, text := line[:1], line[1:]
		switch {
		case strings.HasPrefix(line, "# ") && file == "":
			about += strings.TrimSpace(text) + " "
		case strings.HasPrefix(line, "diff "), strings.HasPrefix(line, "index "), strings.HasPrefix(line, "--- a/"):
			file = ""
		case strings.HasPrefix(line, "+++ b/"):
			file = strings.TrimSpace(line[len("+++ b/"):])
		case strings.HasPrefix(line, "@@ ") && file != "":
			hunks = append(hunks, hunk{file: file})
		case inside && mark == " ":
			hunks[len(hunks)-1].old += text
			hunks[len(hunks)-1].new += text
		case inside && mark == "-":
			hunks[len(hunks)-1].old += text
		case inside && mark == "+":
			hunks[len(hunks)-1].new += text
		default:
			return "", nil, fmt.Errorf("no line of a patch: %q", line)
		}
	}
	if about == "" {
		return "", nil, errors.New("it does not say after a # what its bug is")
	}
	if len(hunks) == 0 {
		return "", nil, errors.New("it changes nothing")
	}
	return strings.TrimSpace(about), hunks, nil
}

// apply puts h into its file's text. The old lines must stand there once: line numbers
// are not asked, so that code may move, and what could fit twice fits nowhere.
func (h hunk) apply(text string) (string, error) {
	if h.old == "" || h.old == h.new {
		return "", fmt.Errorf("%s: a hunk keeps nothing, or changes nothing", h.file)
	}
	if n := strings.Count("\n"+text, "\n"+h.old); n != 1 {
		return "", fmt.Errorf("%s: the patch no longer fits, these lines are there %d times:\n%s", h.file, n, h.old)
	}
	return strings.Replace("\n"+text, "\n"+h.old, "\n"+h.new, 1)[1:], nil
}

// planted gives the files below root as a bug's patch makes them, by their paths
// from root.
func planted(root, bug string) (map[string]string, error) {
	patch, err := os.ReadFile(filepath.Join(root, folder, bug+".patch"))
	if err != nil {
		return nil, err
	}
	_, hunks, err := parse(string(patch))
	if err != nil {
		return nil, err
	}
	files := map[string]string{}
	for _, h := range hunks {
		if _, read := files[h.file]; !read {
			text, err := os.ReadFile(filepath.Join(root, h.file))
			if err != nil {
				return nil, fmt.Errorf("the patch no longer fits: %w", err)
			}
			files[h.file] = string(text)
		}
		if files[h.file], err = h.apply(files[h.file]); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// overlay writes a bug's files into a new folder dir, and there the file for go's
// flag -overlay, whose path it gives.
func overlay(root, bug, dir string) (string, error) {
	files, err := planted(root, bug)
	if err != nil {
		return "", err
	}
	var o struct{ Replace map[string]string }
	o.Replace = map[string]string{}
	for name, text := range files {
		instead := filepath.Join(dir, name)
		from, err := filepath.Abs(filepath.Join(root, name))
		if err != nil {
			return "", err
		}
		if err := os.MkdirAll(filepath.Dir(instead), 0o700); err != nil {
			return "", err
		}
		if err := os.WriteFile(instead, []byte(text), 0o600); err != nil {
			return "", err
		}
		o.Replace[from] = instead
	}
	b, err := json.Marshal(o)
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "overlay.json")
	return path, os.WriteFile(path, b, 0o600)
}
