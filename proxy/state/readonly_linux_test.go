package state

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// nobody takes root's rights over files from the test: it may not write what is not open to all.
func nobody(t *testing.T) {
	if os.Geteuid() != 0 {
		return
	}
	runtime.LockOSThread() // the rights are the thread's
	if err := syscall.Setfsuid(65532); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Setfsuid(0)
		runtime.UnlockOSThread()
	})
}

func TestReadOnly(t *testing.T) {
	dir, existing := t.TempDir(), file(t)
	s, err := Open(t.Context(), "sqlite:"+existing)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for path, mode := range map[string]os.FileMode{filepath.Dir(dir): 0o755, dir: 0o555, existing: 0o444, filepath.Dir(existing): 0o555, filepath.Dir(filepath.Dir(existing)): 0o755} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("nobody", func(t *testing.T) {
		nobody(t)
		for _, path := range []string{dir + "/state.db", dir + "/data/state.db", existing, dir} {
			s, err := Open(t.Context(), "sqlite:"+path)
			if err == nil {
				s.Close()
			}
			if !errors.Is(err, ErrReadOnly) || !strings.Contains(err.Error(), "sqlite::memory:") || !strings.Contains(err.Error(), path) {
				t.Errorf("%s: %v", path, err)
			}
		}
	})
	if err := os.Chmod(filepath.Dir(existing), 0o700); err != nil {
		t.Fatal(err)
	}
	broken := torn(t)
	if _, err := Open(t.Context(), "sqlite:"+broken); err == nil || errors.Is(err, ErrReadOnly) || !errors.Is(err, errDamaged) || !strings.Contains(err.Error(), broken) {
		t.Errorf("a broken database: %v", err)
	}
}
