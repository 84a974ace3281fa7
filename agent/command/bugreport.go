package command

import (
	"context"
	"encoding/json"
	"runtime"
	"time"

	"github.com/signetd/signet/agent/keyfile"
	"github.com/signetd/signet/protocol/build"
	"github.com/signetd/signet/protocol/output"
)

func (p *program) bugreport(ctx context.Context, args []string) error {
	var w where
	f := p.flags("bugreport")
	w.flags(f)
	w.socketFlag(f)
	if err := p.parse(f, args); err != nil {
		return err
	}
	out := map[string]any{"version": build.Version(), "go": runtime.Version(), "os": runtime.GOOS, "arch": runtime.GOARCH, "local_time": p.now().UTC()}
	path, socket, err := p.find(w)
	if err == nil {
		var st Status
		if st, err = look(ctx, path, socket); err == nil {
			out["status"] = st
		}
	}
	if err != nil {
		out["problem"] = output.Words(err)
	}
	if d, err := keyfile.View(path); err == nil {
		if r, err := d.Load(ctx); err == nil {
			out["floor"] = time.Unix(r.Floor, 0).UTC()
			out["has"] = map[string]bool{"anchor": r.Anchor != nil, "key_statement": r.Statement != nil, "refresh_token": r.Refresh != nil}
		}
	}
	enc := json.NewEncoder(p.out)
	enc.SetIndent("", "  ")
	return enc.Encode(out)
}
