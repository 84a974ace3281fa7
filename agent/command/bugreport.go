package command

import (
	"context"
	"encoding/json"
	"runtime"
	"time"

	"github.com/signetd/signet/agent/keyfile"
	"github.com/signetd/signet/protocol/build"
)

func (s *session) bugreport(ctx context.Context, args []string) error {
	var w where
	f := s.flags("bugreport")
	w.flags(f)
	w.socketFlag(f)
	if err := s.parse(f, args); err != nil {
		return err
	}
	out := map[string]any{"version": build.Version(), "go": runtime.Version(), "os": runtime.GOOS, "arch": runtime.GOARCH, "local_time": s.now().UTC()}
	path, socket, err := s.find(w)
	if err == nil {
		var st Status
		if st, err = look(ctx, path, socket); err == nil {
			out["status"] = st
		}
	}
	if err != nil {
		out["problem"] = err.Error()
	}
	if d, err := keyfile.View(path); err == nil {
		if r, err := d.Load(ctx); err == nil {
			out["floor"] = time.Unix(r.Floor, 0).UTC()
			out["has"] = map[string]bool{"anchor": r.Anchor != nil, "key_statement": r.Statement != nil, "refresh_token": r.Refresh != nil}
		}
	}
	enc := json.NewEncoder(s.out)
	enc.SetIndent("", "  ")
	return enc.Encode(out)
}
