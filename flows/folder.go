package flows

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

const (
	longestFile = 1 << 20 // bytes
	mostFlows   = 1000
)

// Models is what asks may name.
type Models struct {
	Known func(name string) bool // nil: names are not checked
	Names []string               // to choose from
}

// Load reads all flows of a folder, and checks everything. The error is every problem there is. Without a folder the Library is nil.
func Load(cfg Config, models Models) (*Library, error) {
	if cfg.Dir == "" {
		return nil, nil
	}
	l := &Library{flows: map[string]*Flow{}}
	err := inFolder(cfg.Dir, func(name string, files fs.FS) error {
		f, err := read(cfg.Dir, name, files, models)
		if err != nil {
			return err
		}
		if before := l.flows[f.Name]; before != nil {
			return fmt.Errorf("%s: name: %s is the name of %s already", f.file, f.Name, before.file)
		}
		l.flows[f.Name] = f
		l.names = append(l.names, f.Name)
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.Sort(l.names)
	return l, nil
}

// Files lists the files of a folder's flows, as far as it can be read: those to watch.
func Files(dir string) (list []string) {
	_ = inFolder(dir, func(name string, _ fs.FS) error { // Load tells what is wrong
		list = append(list, filepath.Join(dir, name))
		return nil
	})
	return list
}

// inFolder calls use for each YAML file. What begins with a dot is none of ours: editors and Kubernetes keep theirs so.
func inFolder(dir string, use func(name string, files fs.FS) error) error {
	root, err := os.OpenRoot(dir) // links are followed as long as they stay in it
	if err != nil {
		return fmt.Errorf("flows.dir: %w", err)
	}
	defer root.Close()
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return fmt.Errorf("flows.dir: %w", err)
	}
	var errs []error
	found := 0
	for _, e := range entries {
		if ext := path.Ext(e.Name()); strings.HasPrefix(e.Name(), ".") || ext != ".yml" && ext != ".yaml" {
			continue
		}
		if found++; found > mostFlows {
			errs = append(errs, fmt.Errorf("flows.dir: more than %d files", mostFlows))
			break
		}
		errs = append(errs, use(e.Name(), root.FS()))
	}
	return errors.Join(errs...)
}

func read(dir, name string, files fs.FS, models Models) (*Flow, error) {
	shown := path.Join(filepath.ToSlash(dir), name)
	text, err := content(name, files)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", shown, err)
	}
	return parse(shown, text, models)
}

func content(name string, files fs.FS) ([]byte, error) {
	what, err := fs.Stat(files, name)
	switch {
	case err != nil:
		return nil, reason(err)
	case !what.Mode().IsRegular(): // to open a pipe would be to wait for its other end
		return nil, errors.New("not a regular file")
	}
	file, err := files.Open(name)
	if err != nil {
		return nil, reason(err)
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, longestFile+1))
	if err == nil && len(text) > longestFile {
		err = fmt.Errorf("larger than %d MiB", longestFile>>20)
	}
	return text, err
}

// reason is what went wrong, without the file: it stands in front already.
func reason(err error) error {
	if wrapped, ok := errors.AsType[*fs.PathError](err); ok {
		return wrapped.Err
	}
	return err
}
