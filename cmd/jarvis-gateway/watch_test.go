//go:build unix

package main

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// watched is a configuration under watch. Paths are relative to its folder.
type watched struct {
	*testing.T
	dir     string
	changes chan struct{}
	watcher *watcher
}

func newWatched(t *testing.T, text string) *watched {
	dir := filepath.Join(t.TempDir(), "[odd]*") // a folder's name is no pattern
	w := &watched{T: t, dir: dir, changes: make(chan struct{}, 100)}
	w.write("jarvis.yml", text)
	return w
}

func (w *watched) watch(path string) {
	w.Helper()
	var err error
	if path != "" {
		path = filepath.Join(w.dir, path)
	}
	w.watcher, err = watch(newSource(path), func() { w.changes <- struct{}{} })
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() {
		if err := w.watcher.Close(); err != nil {
			w.Error(err)
		}
	})
}

func (w *watched) do(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *watched) write(file, text string) {
	w.Helper()
	file = filepath.Join(w.dir, file)
	w.do(os.MkdirAll(filepath.Dir(file), 0o755))
	w.do(os.WriteFile(file, []byte(text), 0o644))
}

func (w *watched) rename(from, to string) {
	w.Helper()
	w.do(os.Rename(filepath.Join(w.dir, from), filepath.Join(w.dir, to)))
}

// link makes, or replaces at once, a link.
func (w *watched) link(target, link string) {
	w.Helper()
	w.do(os.Symlink(target, filepath.Join(w.dir, link+".new")))
	w.rename(link+".new", link)
}

// changed waits until a change is noticed and all is quiet again. It takes more than one call where the change takes more
// than one step, as a slow machine may rest between them.
func (w *watched) changed(what string) {
	w.Helper()
	select {
	case <-w.changes:
	case <-time.After(patience):
		w.Fatalf("%s went unnoticed", what)
	}
	for {
		select {
		case <-w.changes:
		case <-time.After(3 * quiet):
			return
		}
	}
}

// changedOnce is for what takes one step only, so that a second call is one too many.
func (w *watched) changedOnce(what string) {
	w.Helper()
	select {
	case <-w.changes:
	case <-time.After(patience):
		w.Fatalf("%s went unnoticed", what)
	}
	w.unchanged(what + " again")
}

func (w *watched) unchanged(what string) {
	w.Helper()
	select {
	case <-w.changes:
		w.Fatalf("%s counts as a change", what)
	case <-time.After(3 * quiet):
	}
}

func TestWatchFile(t *testing.T) {
	t.Parallel()
	w := newWatched(t, "server: {drain: 1s}")
	w.watch("jarvis.yml")
	w.write("jarvis.yml", "server: {drain: 2s}")
	w.changed("writing")
	w.write("jarvis.yml", "server: {drain: 3s}")
	w.write("jarvis.yml", "server: {drain: 4s}")
	w.changed("writing twice")
	w.write(".jarvis.yml.swp", "server: {drain: 5s}")
	w.rename(".jarvis.yml.swp", "jarvis.yml")
	w.changedOnce("an editor's replacing")
	w.rename("jarvis.yml", "jarvis.yml~")
	w.write("jarvis.yml", "server: {drain: 6s}")
	w.changed("an editor's backup")
	w.write("jarvis.yml", "server: {drain: 6s}")
	w.unchanged("writing the same")
	w.write("gateway.log", "a busy neighbour")
	w.unchanged("another file")
	w.rename("jarvis.yml", "gone.yml")
	w.changedOnce("removing")
	w.rename("gone.yml", "jarvis.yml")
	w.changedOnce("putting back")
}

// What changes between the load and the watch is noticed too.
func TestWatchSinceLoad(t *testing.T) {
	t.Parallel()
	w := newWatched(t, "server: {drain: 1s}")
	s := testSource(filepath.Join(w.dir, "jarvis.yml"))
	if _, err := s.load(); err != nil {
		t.Fatal(err)
	}
	w.write("jarvis.yml", "server: {drain: 2s}")
	watcher, err := watch(s, func() { w.changes <- struct{}{} })
	if err != nil {
		t.Fatal(err)
	}
	w.changedOnce("a change before the watch")
	if err := watcher.Close(); err != nil {
		t.Error(err)
	}
}

func TestWatchIncludes(t *testing.T) {
	t.Parallel()
	w := newWatched(t, "include: [policies/*.yml, teams/*/team.yml]")
	w.watch("jarvis.yml")
	w.write("policies/a.yml", "tenants: {a: {}}")
	w.changed("a new folder with a file")
	w.write("policies/a.yml", "tenants: {b: {}}")
	w.changed("writing an included file")
	w.write("policies/b.yml", "tenants: {c: {}}")
	w.changed("a second file")
	w.write("policies/readme.txt", "tenants: {c: {}}")
	w.unchanged("a file that is not included")
	w.write("teams/one/team.yml", "tenants: {d: {}}")
	w.changed("new folders two deep")
	w.write("teams/one/team.yml", "tenants: {e: {}}")
	w.changed("writing two folders deep")
	w.rename("policies", "policies.old")
	w.changedOnce("removing the folder")
	w.write("jarvis.yml", "include: [elsewhere.yml")
	w.changed("a broken main file")
	w.write("jarvis.yml", "include: [elsewhere.yml]")
	w.changed("another include")
	w.write("elsewhere.yml", "tenants: {f: {}}")
	w.changed("the file of another include")
}

// Kubernetes mounts jarvis.yml -> ..data/jarvis.yml with ..data -> ..2024, and changes the second link only.
func TestWatchLinks(t *testing.T) {
	t.Parallel()
	w := newWatched(t, "")
	w.write("mount/..2024/jarvis.yml", "server: {drain: 1s}")
	w.write("mount/..2025/jarvis.yml", "server: {drain: 2s}")
	w.link("..2024", "mount/..data")
	w.link("..data/jarvis.yml", "mount/jarvis.yml")
	w.write("etc/readme.txt", "")
	w.link("../mount/jarvis.yml", "etc/jarvis.yml")
	w.watch("etc/jarvis.yml")
	w.link("..2025", "mount/..data")
	w.changedOnce("swapping the folder's link")
	w.write("mount/..2025/jarvis.yml", "server: {drain: 3s}")
	w.changed("writing behind the new link")
	w.write("other.yml", "server: {drain: 4s}")
	w.link("../other.yml", "etc/jarvis.yml")
	w.changedOnce("swapping the file's link")
	w.write("other.yml", "server: {drain: 5s}")
	w.changed("writing behind the file's new link")
}

func TestWatchHangup(t *testing.T) {
	for _, path := range []string{"jarvis.yml", ""} {
		w := newWatched(t, "server: {drain: 1s}")
		w.watch(path)
		w.do(syscall.Kill(os.Getpid(), syscall.SIGHUP))
		w.changedOnce("SIGHUP")
	}
}

// A folder in which something always happens must not put a change off for ever.
func TestWatchBusyFolder(t *testing.T) {
	t.Parallel()
	w := newWatched(t, "server: {drain: 1s}")
	w.watch("jarvis.yml")
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(quiet / 5)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				if err := os.WriteFile(filepath.Join(w.dir, "log"), []byte(time.Now().String()), 0o644); err != nil {
					t.Error(err)
				}
			}
		}
	}()
	w.write("jarvis.yml", "server: {drain: 2s}")
	w.changed("writing beside a log")
	close(stop)
	<-done
}

// Close waits for the call under way, and none follows it.
func TestWatchClose(t *testing.T) {
	t.Parallel()
	w := newWatched(t, "server: {drain: 1s}")
	begun, release := make(chan struct{}), make(chan struct{})
	watcher, err := watch(newSource(filepath.Join(w.dir, "jarvis.yml")), func() {
		begun <- struct{}{}
		<-release
	})
	if err != nil {
		t.Fatal(err)
	}
	w.write("jarvis.yml", "server: {drain: 2s}")
	<-begun
	closed := make(chan error)
	go func() { closed <- watcher.Close() }()
	select {
	case <-closed:
		t.Error("closed while the call was under way")
	case <-time.After(quiet):
	}
	close(release)
	if err := <-closed; err != nil {
		t.Error(err)
	}
}
