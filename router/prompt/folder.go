package prompt

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// Bounds of a folder, so that a wrong one cannot make the gateway hang or swell.
const (
	longestFile = 1 << 20 // bytes
	mostFiles   = 10_000
	deepest     = 8 // folders in each other, links followed
)

// folder is the templates' folder while it is read. Links are followed as long as they stay in it.
type folder struct {
	dir   string
	files fs.FS
	found []string // below dir, with slashes
}

// Files lists the files of the templates in a folder, as far as it can be read: those to watch.
func Files(dir string) []string {
	var list []string
	_ = inFolder(dir, func(f *folder) error { // Load tells what is wrong
		for _, name := range f.found {
			list = append(list, filepath.Join(dir, filepath.FromSlash(name)))
		}
		return nil
	})
	return list
}

func readFolder(dir string) (list []*Template, err error) {
	err = inFolder(dir, func(f *folder) error {
		var errs []error
		seen := map[string]string{}
		for _, name := range f.found {
			t, err := f.read(name)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			list = append(list, t)
			id := t.Name + "@" + t.Version
			if before, twice := seen[id]; twice {
				errs = append(errs, f.wrong(name, fmt.Errorf("the same version as %s", f.shown(before))))
			}
			seen[id] = name
		}
		return errors.Join(errs...)
	})
	return list, err
}

// inFolder calls use with what was found in a folder. Its error comes with that of the search.
func inFolder(dir string, use func(f *folder) error) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("prompts.dir: %w", err)
	}
	defer root.Close()
	f := &folder{dir: dir, files: root.FS()}
	err = f.search(".", 0)
	return errors.Join(err, use(f))
}

// search finds the YAML files. What begins with a dot is none of ours: editors and Kubernetes keep theirs so.
func (f *folder) search(at string, depth int) error {
	if depth > deepest {
		return f.wrong(at, fmt.Errorf("more than %d folders in each other", deepest))
	}
	entries, err := fs.ReadDir(f.files, at)
	if err != nil {
		return f.wrong(at, reason(err))
	}
	var errs []error
	for _, e := range entries {
		name := path.Join(at, e.Name())
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		what, err := fs.Stat(f.files, name) // follows links
		switch ext := path.Ext(name); {
		case err != nil:
			errs = append(errs, f.wrong(name, reason(err)))
		case what.IsDir():
			errs = append(errs, f.search(name, depth+1))
		case ext != ".yml" && ext != ".yaml":
		case !what.Mode().IsRegular(): // to open a pipe would be to wait for its other end
			errs = append(errs, f.wrong(name, errors.New("not a regular file")))
		case len(f.found) == mostFiles:
			return f.wrong(name, fmt.Errorf("more than %d files", mostFiles))
		default:
			f.found = append(f.found, name)
		}
	}
	return errors.Join(errs...)
}

// read reads one file.
func (f *folder) read(name string) (*Template, error) {
	t, err := named(strings.TrimSuffix(name, path.Ext(name)))
	if err != nil {
		return nil, f.wrong(name, err)
	}
	file, err := f.files.Open(name)
	if err != nil {
		return nil, f.wrong(name, reason(err))
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, longestFile+1))
	if err != nil {
		return nil, f.wrong(name, reason(err))
	}
	if len(text) > longestFile {
		return nil, f.wrong(name, fmt.Errorf("larger than %d MiB", longestFile>>20))
	}
	r := reader{file: f.shown(name), template: t}
	return t, r.read(text)
}

func (f *folder) wrong(name string, err error) error {
	return fmt.Errorf("%s: %w", f.shown(name), err)
}

func (f *folder) shown(name string) string { return path.Join(filepath.ToSlash(f.dir), name) }

// reason is what went wrong, without the file: it stands in front already.
func reason(err error) error {
	if wrapped := (*fs.PathError)(nil); errors.As(err, &wrapped) {
		return wrapped.Err
	}
	return err
}

// named begins the template of a file support/1.2.0. Its name goes into headers and metrics.
func named(file string) (*Template, error) {
	name, text := path.Dir(file), path.Base(file)
	if name == "." {
		return nil, errors.New("the file is in no template's folder: expected NAME/VERSION.yml, such as support/1.2.0.yml")
	}
	strange := func(c rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/", c)
	}
	if strings.ContainsFunc(name, strange) {
		return nil, errors.New("the names of templates have only letters (a-z, A-Z), digits, dots, underscores and hyphens")
	}
	if strings.HasPrefix(name, stored) {
		return nil, fmt.Errorf("names that begin with %s are those of prompts stored at OpenAI", stored)
	}
	version, err := parseVersion(text)
	if err != nil {
		return nil, err
	}
	return &Template{Name: name, Version: text, version: version, index: map[string]int{}}, nil
}
