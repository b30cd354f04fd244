package store

import (
	"context"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
)

// migration is one step of the tables. A file that was released is never changed.
type migration struct {
	version    int
	name       string
	statements []string
}

// migrations are the files NNNN_NAME.sql, in their order.
func migrations(files fs.FS) (list []migration, err error) {
	paths, err := fs.Glob(files, "[0-9]*_*.sql")
	if err != nil {
		return nil, err
	}
	for i, path := range paths {
		text, err := fs.ReadFile(files, path)
		if err != nil {
			return nil, err
		}
		digits, _, _ := strings.Cut(path, "_")
		version, err := strconv.Atoi(digits)
		if err != nil || version != i+1 {
			return nil, fmt.Errorf("%s: it must begin with %04d", path, i+1)
		}
		list = append(list, migration{version, strings.TrimSuffix(path, ".sql"), statements(string(text))})
	}
	return list, nil
}

// statements splits a file where a line ends with a semicolon, and leaves lines out that are comments.
func statements(text string) (list []string) {
	var statement strings.Builder
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, " \r\n")
		if comment := strings.HasPrefix(strings.TrimSpace(line), "--"); comment || line == "" {
			continue
		}
		end := strings.HasSuffix(line, ";")
		statement.WriteString(strings.TrimSuffix(line, ";"))
		if !end {
			statement.WriteByte('\n')
			continue
		}
		list = append(list, statement.String())
		statement.Reset()
	}
	if rest := strings.TrimSpace(statement.String()); rest != "" {
		list = append(list, rest)
	}
	return list
}

// Pending names the migrations that have not been applied yet. It fails on tables that a newer version of the gateway has made.
func (s *Store) Pending(ctx context.Context) ([]string, error) {
	list, err := s.pending(ctx)
	if err != nil {
		return nil, s.named(err)
	}
	pending := make([]string, len(list))
	for i, m := range list {
		pending[i] = m.name
	}
	return pending, nil
}

func (s *Store) pending(ctx context.Context) ([]migration, error) {
	list, err := migrations(s.files)
	if err != nil {
		return nil, err
	}
	version, err := s.version(ctx)
	if err != nil {
		return nil, err
	}
	if version > len(list) {
		return nil, fmt.Errorf("its tables are of version %d, made by a newer gateway; this one knows %d: run the newer one, or set stores.usage to another place", version, len(list))
	}
	return list[version:], nil
}

// Migrate brings the tables up to date and has retention follow the options. It may be called at any time, by several at once.
func (s *Store) Migrate(ctx context.Context) error {
	if err := s.upgrade(ctx); err != nil {
		return err
	}
	_, err := s.retain(ctx)
	return s.named(err)
}

// upgrade brings the tables up to date. It writes nothing where they are.
func (s *Store) upgrade(ctx context.Context) error {
	list, err := s.pending(ctx)
	if err != nil {
		return s.named(err)
	}
	for _, m := range list {
		if err := s.apply(ctx, m); err != nil {
			return s.named(fmt.Errorf("migration %s: %w", m.name, err))
		}
	}
	return nil
}
