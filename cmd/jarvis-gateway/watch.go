package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"

	"jarvis-gateway/flows"
	"jarvis-gateway/router/prompt"
)

const (
	quiet   = 100 * time.Millisecond // how long nothing may happen before a change counts as complete
	tooLong = time.Second            // a folder that never rests is looked at this often
)

// watcher tells its owner when the configuration's files have changed or the process got SIGHUP. It owns one goroutine.
type watcher struct {
	source  *source
	changed func()
	folders *fsnotify.Watcher // nil: SIGHUP only
	hangup  chan os.Signal
	stop    chan struct{}
	done    chan struct{}
	files   map[string]bool // the configuration's, all links followed
	seen    content         // when changed was last called
}

// watch calls changed, one call at a time, until Close; the first time because of what differs from the source's last load.
// With an error the watcher works by SIGHUP alone.
func watch(s *source, changed func()) (*watcher, error) {
	w := &watcher{
		source:  s,
		changed: changed,
		hangup:  make(chan os.Signal, 1),
		stop:    make(chan struct{}),
		done:    make(chan struct{}),
	}
	signal.Notify(w.hangup, syscall.SIGHUP)
	var err error
	if s.path != "" {
		if w.folders, err = fsnotify.NewWatcher(); err != nil {
			w.folders, err = nil, fmt.Errorf("cannot watch %s: %w", s.path, err)
		}
	}
	w.seen = w.look()
	if loaded := s.seen.Load(); loaded != nil {
		w.seen = *loaded
	}
	go w.loop()
	return w, err
}

// Close ends the watch and waits for a call of changed that is under way.
func (w *watcher) Close() error {
	signal.Stop(w.hangup)
	close(w.stop)
	<-w.done
	if w.folders == nil {
		return nil
	}
	return w.folders.Close()
}

func (w *watcher) loop() {
	defer close(w.done)
	var events <-chan fsnotify.Event
	var lost <-chan error
	if w.folders != nil {
		events, lost = w.folders.Events, w.folders.Errors
	}
	settled, latest := time.After(0), time.Time{}
	wait := func() {
		if settled == nil {
			latest = time.Now().Add(tooLong)
		}
		settled = time.After(min(quiet, time.Until(latest)))
	}
	for {
		select {
		case <-w.stop:
			return
		case <-w.hangup:
			w.seen = w.look()
			w.changed()
		case event := <-events:
			if w.matters(event) {
				wait()
			}
		case err := <-lost:
			if err != nil { // events are missing, so anything may have changed
				wait()
			}
		case <-settled:
			settled = nil
			w.compare()
		}
	}
}

// matters leaves out that another file of a watched folder was written, a log for one, which may happen all the time. A
// file that comes, goes or is renamed may be, or lead to, one of the configuration's.
func (w *watcher) matters(event fsnotify.Event) bool {
	return event.Op&^(fsnotify.Write|fsnotify.Chmod) != 0 || w.files[event.Name]
}

// compare calls changed if the files hold something new: their folders may be full of others that change all the time.
func (w *watcher) compare() {
	if now := w.look(); now != w.seen {
		w.seen = now
		w.changed()
	}
}

// look watches every folder that matters by now, then digests the files, in this order lest a change fall between.
func (w *watcher) look() content {
	if w.folders != nil {
		w.files = map[string]bool{}
		w.follow(w.source.path)
		for _, pattern := range w.source.patterns() {
			w.followPattern(pattern)
		}
		for _, file := range w.source.included() {
			w.follow(file)
		}
		if dir := w.source.rough().Prompts.Dir; dir != "" {
			w.followTree(beside(w.source.path, dir))
		}
		if dir := w.source.rough().Flows.Dir; dir != "" {
			w.follow(filepath.Join(beside(w.source.path, dir), "*"))
		}
		w.followCorpora()
	}
	return w.source.digest()
}

// content is a digest of all files of a configuration.
type content [sha256.Size]byte

func (s *source) digest() content {
	if s.path == "" {
		return content{}
	}
	var all bytes.Buffer
	for _, file := range append([]string{s.path}, s.included()...) {
		text, err := readBounded(file)
		fmt.Fprintf(&all, "%s %x %t\n", s.relative(file), sha256.Sum256(text), err == nil) // wherever the files lie
	}
	return sha256.Sum256(all.Bytes())
}

// largestFile is more than any file of a configuration may have.
const largestFile = 16 << 20

// readBounded reads a file. Of one that is too large to be taken, which a pattern may find, it tells only size and time.
func readBounded(file string) ([]byte, error) {
	about, err := os.Stat(file)
	if err == nil && about.Size() > largestFile {
		return fmt.Append(nil, about.Size(), about.ModTime().UnixNano()), nil
	}
	return os.ReadFile(file)
}

// rough is the main file, as far as it can be read.
func (s *source) rough() (c Config) {
	if text, err := os.ReadFile(s.path); err == nil {
		decode(s.path, text, &c, s.lookup)
	}
	return c
}

// patterns are the main file's includes.
func (s *source) patterns() []string { return s.rough().Include }

// included are the other files that the configuration is made of.
func (s *source) included() []string {
	var files []string
	rough := s.rough()
	for _, pattern := range rough.Include {
		found, _ := match(s.path, pattern) // load tells what is wrong with a pattern
		files = append(files, found...)
	}
	if rough.Prices.File != "" {
		files = append(files, beside(s.path, rough.Prices.File))
	}
	if rough.Prompts.Dir != "" {
		files = append(files, prompt.Files(beside(s.path, rough.Prompts.Dir))...)
	}
	if rough.Flows.Dir != "" {
		files = append(files, flows.Files(beside(s.path, rough.Flows.Dir))...)
	}
	return append(files, documentFiles(s.path, rough.Corpora)...)
}

// followPattern watches every folder in which a match may appear.
func (w *watcher) followPattern(pattern string) {
	for {
		pattern = filepath.Dir(pattern)
		if !strings.ContainsAny(pattern, `*?[`) {
			w.follow(beside(w.source.path, filepath.Join(pattern, "*")))
			return
		}
		found, _ := filepath.Glob(beside(escapeGlob(w.source.path), pattern)) // load tells what is wrong with a pattern
		for _, folder := range found {
			w.follow(filepath.Join(folder, "*"))
		}
	}
}

// followTree watches a folder in which files and folders may come and go, and all that are in it.
func (w *watcher) followTree(dir string) {
	w.follow(filepath.Join(dir, "*"))
	_ = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			w.follow(filepath.Join(path, "*"))
		}
		return nil // load tells what is wrong with the folder
	})
}

// follow watches the folders whose change can change what path stands for: the one it lies in, and the one of every link on
// the way there. Kubernetes replaces such a link, far from the file, to change all files at once.
func (w *watcher) follow(path string) {
	path, err := filepath.Abs(path)
	if err != nil {
		return
	}
	for range 40 { // as many links as Linux follows
		link, target := firstLink(path)
		w.add(filepath.Dir(link))
		if target == "" {
			w.files[path] = true
			return
		}
		path = target
	}
}

// firstLink finds the first part of path that is a link, and the path with that part replaced; else path itself and "".
func firstLink(path string) (link, resolved string) {
	for end := 1; end <= len(path); end++ {
		if end < len(path) && !os.IsPathSeparator(path[end]) {
			continue
		}
		target, err := os.Readlink(path[:end])
		if err != nil {
			continue
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(filepath.Dir(path[:end]), target)
		}
		return path[:end], filepath.Join(target, path[end:])
	}
	return path, ""
}

// add watches a folder, or the nearest one above that exists, where it will appear.
func (w *watcher) add(folder string) {
	for {
		err := w.folders.Add(folder)
		above := filepath.Dir(folder)
		if err == nil || above == folder || !errors.Is(err, fs.ErrNotExist) {
			return
		}
		folder = above
	}
}
