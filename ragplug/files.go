package ragplug

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"
)

// Bounds of the search for files.
const (
	deepest     = 16      // folders in each other, links followed
	mostEntries = 200_000 // of all folders that are looked through
)

// file is a document's file. Its name is what clients and models are told: the path below the pattern's folder.
type file struct{ path, name string }

// search looks for the files of a pattern.
type search struct {
	dir     string // the part of the pattern without wildcards
	wants   []string
	files   fs.FS
	found   []file
	entries int
	above   []fs.FileInfo // the folders that it is in: a link back to one of them leads to nothing new
}

// Files lists the files of a corpus, as far as they can be found: those to watch.
func Files(c Config) []string {
	var list []string
	for _, pattern := range c.Files {
		found, _ := match(c.Dir, pattern) // Load tells what is wrong
		for _, f := range found {
			list = append(list, f.path)
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// Folders lists the folders below which files of a corpus may come and go.
func Folders(c Config) []string {
	var list []string
	for _, pattern := range c.Files {
		if dir, wants := split(pattern); wants != nil {
			list = append(list, beside(c.Dir, dir))
		}
	}
	return list
}

// split is the folder in which a pattern's search begins, and what it wants there; nothing for a file without wildcards.
func split(pattern string) (dir string, wants []string) {
	parts := strings.Split(filepath.ToSlash(filepath.Clean(pattern)), "/")
	wild := slices.IndexFunc(parts, func(part string) bool { return strings.ContainsAny(part, `*?[`) })
	if wild < 0 {
		return filepath.Dir(pattern), nil
	}
	if dir = strings.Join(parts[:wild], "/"); dir == "" {
		dir = "."
		if strings.HasPrefix(pattern, "/") {
			dir = "/"
		}
	}
	return filepath.FromSlash(dir), parts[wild:]
}

// beside is a file or folder as seen from a folder.
func beside(dir, name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(dir, name)
}

// match finds the files that a pattern names, in order.
func match(from, pattern string) ([]file, error) {
	if strings.TrimSpace(pattern) == "" {
		return nil, errors.New("empty")
	}
	dir, wants := split(pattern)
	if wants == nil {
		return alone(beside(from, pattern), pattern)
	}
	for _, part := range wants {
		if _, err := path.Match(part, ""); err != nil || strings.Contains(part, "**") && part != "**" {
			return nil, fmt.Errorf("%s: not a file pattern", pattern)
		}
	}
	dir = beside(from, dir)
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", pattern, reason(err))
	}
	defer root.Close()
	s := &search{dir: dir, wants: wants, files: root.FS()}
	if here, err := root.Stat("."); err == nil {
		s.above = []fs.FileInfo{here}
	}
	if err = s.look(".", 0); err == nil && len(s.found) == 0 {
		err = fmt.Errorf("no .md or .txt file matches %s", pattern)
	}
	slices.SortFunc(s.found, func(a, b file) int { return strings.Compare(a.path, b.path) })
	return s.found, err
}

// alone is a file without wildcards.
func alone(at, name string) ([]file, error) {
	what, err := os.Stat(at)
	switch {
	case err != nil:
		return nil, fmt.Errorf("cannot read %s: %w", name, reason(err))
	case what.IsDir():
		return nil, fmt.Errorf("%s: a folder (for all that is in it: %s/**/*.md)", name, filepath.ToSlash(name))
	case !what.Mode().IsRegular():
		return nil, fmt.Errorf("%s: not a regular file", name)
	case !readable(name):
		return nil, fmt.Errorf("%s: expected a text file, .md or .txt", name)
	}
	return []file{{path: at, name: filepath.Base(name)}}, nil
}

func readable(name string) bool {
	ext := strings.ToLower(path.Ext(name))
	return ext == ".md" || ext == ".txt"
}

// look goes through a folder. What begins with a dot is none of ours: editors and Kubernetes keep theirs so.
func (s *search) look(at string, depth int) error {
	if depth > deepest {
		return fmt.Errorf("%s: more than %d folders in each other", s.shown(at), deepest)
	}
	entries, err := fs.ReadDir(s.files, at)
	if err != nil {
		return fmt.Errorf("%s: %w", s.shown(at), reason(err))
	}
	if s.entries += len(entries); s.entries > mostEntries {
		return fmt.Errorf("%s: more than %d files and folders to look through", s.shown("."), mostEntries)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		if err := s.entry(path.Join(at, e.Name()), depth); err != nil {
			return err
		}
	}
	return nil
}

func (s *search) entry(name string, depth int) error {
	what, err := fs.Stat(s.files, name) // follows links
	wanted := readable(name) && fits(s.wants, strings.Split(name, "/"))
	switch {
	case err != nil && !wanted:
		return nil // a link to nowhere that is no document
	case err != nil:
		return fmt.Errorf("%s: %w", s.shown(name), reason(err))
	case what.IsDir():
		again := slices.ContainsFunc(s.above, func(f fs.FileInfo) bool { return os.SameFile(f, what) })
		if again || !leads(s.wants, strings.Split(name, "/")) {
			return nil
		}
		s.above = append(s.above, what)
		err = s.look(name, depth+1)
		s.above = s.above[:len(s.above)-1]
		return err
	case !wanted:
	case !what.Mode().IsRegular(): // to open a pipe would be to wait for its other end
		return fmt.Errorf("%s: not a regular file", s.shown(name))
	case len(s.found) == MostFiles:
		return fmt.Errorf("%s: more than %d files", s.shown("."), MostFiles)
	default:
		s.found = append(s.found, file{path: filepath.Join(s.dir, filepath.FromSlash(name)), name: name})
	}
	return nil
}

func (s *search) shown(name string) string { return path.Join(filepath.ToSlash(s.dir), name) }

// fits tells whether the parts of a path are what a pattern wants.
func fits(wants, parts []string) bool {
	switch {
	case len(wants) == 0:
		return len(parts) == 0
	case wants[0] != "**":
		return len(parts) > 0 && alike(wants[0], parts[0]) && fits(wants[1:], parts[1:])
	case len(wants) == 1:
		return len(parts) > 0
	}
	for i := range parts {
		if fits(wants[1:], parts[i:]) {
			return true
		}
	}
	return false
}

// leads tells whether what a pattern wants may lie below a folder.
func leads(wants, parts []string) bool {
	for i, part := range parts {
		if i == len(wants)-1 {
			return wants[i] == "**"
		}
		if wants[i] == "**" {
			return true
		}
		if !alike(wants[i], part) {
			return false
		}
	}
	return true
}

func alike(pattern, name string) bool {
	ok, err := path.Match(pattern, name)
	return ok && err == nil
}

// read is the text of a file.
func (f file) read() (string, error) {
	from, err := os.Open(f.path)
	if err != nil {
		return "", fmt.Errorf("cannot read %s: %w", f.path, reason(err))
	}
	defer from.Close()
	text, err := io.ReadAll(io.LimitReader(from, LongestFile+1))
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	switch {
	case err != nil:
		return "", fmt.Errorf("cannot read %s: %w", f.path, reason(err))
	case len(text) > LongestFile:
		return "", fmt.Errorf("%s: larger than %d MiB", f.path, LongestFile>>20)
	case !utf8.Valid(text):
		return "", fmt.Errorf("%s: not UTF-8 text", f.path)
	case bytes.IndexByte(text, 0) >= 0:
		return "", fmt.Errorf("%s: not text: it holds a zero byte", f.path)
	}
	return string(text), nil
}

// reason is what went wrong, without the file: it stands in front already.
func reason(err error) error {
	if wrapped, ok := errors.AsType[*fs.PathError](err); ok {
		return wrapped.Err
	}
	return err
}
