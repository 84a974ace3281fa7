package command

import (
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"github.com/signetd/signet/firmware-sim/fleet"
)

// A bar shows progress on a terminal.
type bar struct {
	to  io.Writer
	now *progressbar.ProgressBar
}

var _ fleet.Progress = (*bar)(nil)

// newBar gives nil if w is no terminal.
func newBar(w io.Writer) *bar {
	if f, ok := w.(*os.File); !ok || !term.IsTerminal(int(f.Fd())) {
		return nil
	}
	return &bar{to: w}
}

// Begin shows an empty bar.
func (b *bar) Begin(step string, total int) {
	b.now = progressbar.NewOptions(total,
		progressbar.OptionSetWriter(b.to), progressbar.OptionSetDescription(pad(step, 14)), progressbar.OptionSetWidth(32),
		progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionSetItsString("devices"),
		progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish(), progressbar.OptionSetPredictTime(true))
}

// Add moves the bar.
func (b *bar) Add(n int) { _ = b.now.Add(n) } // a bar that cannot be drawn is no failure

// End takes the bar away.
func (b *bar) End() { _ = b.now.Finish() }
