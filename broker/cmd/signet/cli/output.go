package cli

import (
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/signetd/signet/broker/listing"
	"github.com/signetd/signet/protocol/textfile"
)

func checkFormat(format string) error {
	if !slices.Contains(listing.Formats(), format) {
		return oneOf("-o", format, listing.Formats()...)
	}
	return nil
}

// show prints v as JSON or YAML, or else its rows below header.
func (a *app) show(v any, header []string, rows ...[]string) error {
	return listing.Show(a.Out, a.format, v, header, rows...)
}

// detail prints all there is to see of one thing: as a table, a line for each.
func (a *app) detail(v any, header, row []string) error {
	return listing.Detail(a.Out, a.format, v, header, row)
}

// list is show for a list of things.
func list[T any](a *app, items []T, header []string, row func(T) []string) error {
	rows := make([][]string, 0, len(items))
	for _, item := range items {
		rows = append(rows, row(item))
	}
	return a.show(items, header, rows...)
}

// secret prints a thing that was made with a secret: as a table only the secret,
// so that a script can take it, with the rest on standard error.
func (a *app) secret(v any, secret, header string, about string) error {
	if a.format != "table" {
		return a.show(v, []string{header}, []string{secret})
	}
	a.note("%s", about)
	_, err := fmt.Fprintln(a.Out, secret)
	return err
}

// An outcome is what a command did that has nothing else to show.
type outcome struct {
	Action  string `json:"action"`
	Kind    string `json:"kind"`
	Pool    string `json:"pool,omitempty"`
	Name    string `json:"name"`
	Server  string `json:"server,omitempty"`
	Profile string `json:"profile,omitempty"`
}

// did tells what was done: a person in a sentence, a program in the format that it asked for.
func (a *app) did(o outcome, format string, args ...any) error {
	if a.format == "table" {
		a.note(format, args...)
		return nil
	}
	o.Server, o.Profile = first(o.Server, a.at.Server), first(o.Profile, a.at.profile)
	return a.show(o, []string{"ACTION", "KIND", "POOL", "NAME", "SERVER", "PROFILE"}, []string{o.Action, o.Kind, o.Pool, o.Name, o.Server, o.Profile})
}

// note says something to the human.
func (a *app) note(format string, args ...any) { fmt.Fprintf(a.Err, format+"\n", args...) }

// on says on which broker something was done, for the confirmation of what cannot be undone.
func (a *app) on() string {
	if a.at.profile == "" {
		return " on " + a.at.Server
	}
	return fmt.Sprintf(" on %s (profile %q)", a.at.Server, a.at.profile)
}

// stamp writes a time; nil and zero are empty.
func stamp(t *time.Time) string {
	if t == nil || t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04:05Z")
}

// pairs writes a map as k=v, in order.
func pairs(m map[string]string) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, k+"="+m[k])
	}
	return strings.Join(out, ",")
}

// parsePairs reads --attr k=v.
func parsePairs(list []string) (map[string]string, error) {
	if len(list) == 0 {
		return nil, nil
	}
	m := make(map[string]string, len(list))
	for _, s := range list {
		k, v, ok := strings.Cut(s, "=")
		if _, twice := m[k]; !ok || k == "" || twice {
			return nil, usagef("--attr %q: want k=v, each k once", s)
		}
		m[k] = v
	}
	return m, nil
}

// readInput reads a file or, for "-", standard input, of at most limit bytes.
func (a *app) readInput(name string, limit int64) ([]byte, error) {
	in := a.In
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	raw, err := io.ReadAll(io.LimitReader(in, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if int64(len(raw)) > limit {
		return nil, usagef("%s has more than %d bytes", name, limit)
	}
	if raw, err = textfile.Plain(raw); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return raw, nil
}
