package backup_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/signetd/signet/broker/backup"
	"github.com/signetd/signet/broker/boltstore"
	"github.com/signetd/signet/broker/config"
	"github.com/signetd/signet/test/kernel"
)

// TestFullDiskIsNoDamage: whatever there is no room for, the backup is not blamed for it,
// and nothing is left. Nor is a backup written in half.
func TestFullDiskIsNoDamage(t *testing.T) {
	cfg := config.Default()
	cfg.Data = t.TempDir()
	in(t, &cfg, func(s *boltstore.Store) { write(t, s, "one") })
	file := filepath.Join(t.TempDir(), "backup.tar")
	if _, err := backup.Write(t.Context(), cfg, file); err != nil {
		t.Fatal(err)
	}
	restored := false
	for pages := 1; pages < 600 && !restored; pages += 1 + pages/4 {
		disk := t.TempDir()
		kernel.SmallDisk(t, disk, fmt.Sprintf("%dk", 4*pages))
		to := cfg
		to.Data = filepath.Join(disk, "data")
		err := backup.Restore(t.Context(), to, file, 0)
		restored = err == nil
		if err == nil {
			break
		}
		if errors.Is(err, backup.ErrBackup) || !strings.Contains(err.Error(), "no space left on device") {
			t.Errorf("%d pages: %v", pages, err)
		}
		if left, err := os.ReadDir(disk); err != nil || len(left) > 0 {
			t.Errorf("%d pages: left: %v, %v", pages, left, err)
		}
		_, err = backup.Write(t.Context(), cfg, filepath.Join(disk, "b.tar"))
		if err != nil && !strings.Contains(err.Error(), "no space left on device") {
			t.Errorf("%d pages: backup: %v", pages, err)
		}
		if left, _ := os.ReadDir(disk); err != nil && len(left) > 0 {
			t.Errorf("%d pages: half a backup is left: %v", pages, left)
		}
	}
	if !restored {
		t.Error("never restored")
	}
}
