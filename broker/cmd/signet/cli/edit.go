package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"

	"github.com/signetd/signet/broker/adminapi"
	"github.com/signetd/signet/broker/problem"
	"github.com/signetd/signet/broker/strictyaml"
)

const maxEdited = 64 << 10 // bytes of one setting as a file

// edit opens a setting in the person's editor and sends the result, for the revision that
// was read. If the broker refuses it, the text stays in its file.
func (c nounCommand) edit() *cobra.Command {
	return c.leaf("edit", "Change "+c.n.One+" in your editor ($VISUAL, $EDITOR)", c.example("edit", c.argument()+" "), func(cmd *cobra.Command, s adminapi.Settings, name string) error {
		v, etag, err := s.Get(cmd.Context(), name)
		if err != nil {
			return err
		}
		before, err := editable(c.n, v)
		if err != nil {
			return err
		}
		file, err := keepText(c.n.Command, before)
		if err != nil {
			return err
		}
		if err := c.a.runEditor(cmd, file); err != nil {
			return err
		}
		after, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if string(after) == string(before) {
			if err := os.Remove(file); err != nil {
				return err
			}
			return c.a.did(outcome{Action: "unchanged", Kind: c.n.Command, Pool: c.a.pool, Name: name}, "nothing changed")
		}
		out, err := c.send(cmd, s, name, etag, after)
		if err != nil {
			return &hintedError{err, "your text is kept in " + file}
		}
		if err := os.Remove(file); err != nil {
			return err
		}
		header, row := formOf(out).columns(false)
		return c.a.show(out, header, row)
	})
}

// editable writes, as YAML, the members of a setting that a person may set.
func editable(n adminapi.Noun, v any) ([]byte, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var all yaml.MapSlice
	if err := yaml.UnmarshalWithOptions(raw, &all, yaml.UseOrderedMap()); err != nil {
		return nil, err
	}
	readOnly := n.ReadOnly()
	var kept yaml.MapSlice
	for _, m := range all {
		if name, ok := m.Key.(string); ok && !readOnly[name] {
			kept = append(kept, m)
		}
	}
	return yaml.MarshalWithOptions(kept, yaml.IndentSequence(true))
}

// keepText writes text to a file that only this person reads.
func keepText(kind string, text []byte) (string, error) {
	f, err := os.CreateTemp("", "signet-"+kind+"-*.yaml") // 0600
	if err != nil {
		return "", err
	}
	_, err = f.Write(text)
	return f.Name(), errors.Join(err, f.Close())
}

// runEditor waits for the editor to end.
func (a *app) runEditor(cmd *cobra.Command, file string) error {
	editor := a.Getenv("VISUAL")
	if editor == "" {
		editor = a.Getenv("EDITOR")
	}
	words := append(strings.Fields(editor), file)
	if len(words) == 1 {
		words = []string{"vi", file}
	}
	run := exec.CommandContext(cmd.Context(), words[0], words[1:]...)
	run.Stdin, run.Stdout, run.Stderr = a.In, a.Err, a.Err // standard output is data's
	err := run.Run()
	if left, ok := errors.AsType[*exec.ExitError](err); ok {
		return fmt.Errorf("editor %s ended with %d: nothing was changed", words[0], left.ExitCode())
	}
	if err != nil {
		return &hintedError{fmt.Errorf("editor %s: %w", words[0], err), "set EDITOR to one that is there"}
	}
	return nil
}

// send reads the text and replaces the setting of that revision with it.
func (c nounCommand) send(cmd *cobra.Command, s adminapi.Settings, name, etag string, text []byte) (any, error) {
	if len(text) > maxEdited {
		return nil, fmt.Errorf("the text has more than %d bytes", maxEdited)
	}
	v, err := strictyaml.Read(text)
	if err != nil {
		return nil, err
	}
	out, err := s.Replace(cmd.Context(), name, v.JSON(), etag)
	var p *problem.Problem
	if !errors.As(err, &p) {
		return out, err
	}
	if p.Status == http.StatusPreconditionFailed {
		return nil, fmt.Errorf("somebody changed %s %s meanwhile, and your change was not sent over it", c.n.One, name)
	}
	if len(p.Errors) == 0 {
		return nil, err
	}
	var places strictyaml.Errors
	for _, e := range p.Errors {
		path := strings.TrimPrefix(strings.TrimPrefix(e.Location, "body"), ".")
		places = append(places, &strictyaml.Error{Place: v.At(path), Text: e.Message})
	}
	return nil, places
}
