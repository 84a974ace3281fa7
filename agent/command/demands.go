package command

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/signetd/signet/agent/localapi"
)

// demandsName is the file that keeps which tokens programs have asked for, no tokens: a line
// each, "FORMAT AUDIENCE", the one asked for last first.
const demandsName = "demands"

// maxDemands bounds the file: after a start each costs the broker a renewal, and of those a
// device may ask some at once only. Chosen arbitrarily, well below the broker's default.
const maxDemands = 16

// demand is a token request as the file and the watch spell it.
func demand(r localapi.Request) string { return r.Format + " " + r.Audience }

// saveDemands keeps what is asked for over restarts. An agent that cannot goes on without.
func (w *watch) saveDemands() {
	w.mu.Lock()
	var keys []string
	for k, s := range w.special {
		if !s.ask.MQTTPassword {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, func(a, b string) int { return int(w.special[b].asked) - int(w.special[a].asked) })
	w.mu.Unlock()
	keys = keys[:min(len(keys), maxDemands)]
	if err := w.dir.WriteFile(demandsName, []byte(strings.Join(keys, "\n")+"\n")); err != nil {
		w.log.Warn("after a restart the tokens that programs have asked for will not be kept fresh until they ask again", "err", err)
	}
}

// recallDemands takes on what was saved; the tokens are yet to be got.
func (w *watch) recallDemands() {
	raw, err := w.dir.ReadFile(demandsName)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	var found map[string]*special
	if err == nil {
		found, err = parseDemands(string(raw))
	}
	if err != nil {
		w.log.Warn("tokens that programs have asked for will not be kept fresh until they ask again", "file", demandsName, "err", err)
		return
	}
	w.special, w.asked = found, uint64(len(found))
}

func parseDemands(text string) (map[string]*special, error) {
	lines := slices.Collect(strings.Lines(text))
	if len(lines) > maxDemands {
		return nil, fmt.Errorf("%d lines, at most %d", len(lines), maxDemands)
	}
	all := make(map[string]*special, len(lines))
	for i, line := range lines {
		key := strings.TrimSuffix(line, "\n")
		format, audience, ok := strings.Cut(key, " ")
		ask, err := asked(localapi.Request{Format: format, Audience: audience})
		if err != nil || !ok || ask == nil {
			return nil, fmt.Errorf("line %d is no demand", i+1)
		}
		all[key] = &special{ask: *ask, asked: uint64(len(lines) - i)}
	}
	return all, nil
}
