package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"jarvis-gateway/bench/chdb"
)

// both runs a test with either database. Each URL is of an empty one.
func both(t *testing.T, test func(t *testing.T, url string)) {
	t.Run("sqlite", func(t *testing.T) { test(t, "sqlite:"+filepath.Join(t.TempDir(), "usage.db")) })
	t.Run("clickhouse", func(t *testing.T) { test(t, emptyHouse(t)) })
}

var (
	engineDir string
	databases atomic.Int64
)

// house is the one ClickHouse engine that the tests share, each with a database of its own.
var house = sync.OnceValues(func() (s *chdb.Server, err error) {
	if engineDir, err = os.MkdirTemp("", "store-chdb-"); err != nil {
		return nil, err
	}
	return chdb.Run(engineDir)
})

func TestMain(m *testing.M) {
	code := m.Run()
	if engineDir != "" {
		if s, err := house(); err == nil {
			s.Kill()
		}
		_ = os.RemoveAll(engineDir)
	}
	os.Exit(code)
}

// emptyHouse is the URL of a database that is not there yet.
func emptyHouse(t testing.TB) string {
	t.Helper()
	s, err := house()
	if errors.Is(err, chdb.ErrMissing) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return strings.Replace(s.URL, "/default", fmt.Sprint("/base", databases.Add(1)), 1)
}

// with adds options to a URL of ClickHouse.
func with(url, options string) string {
	if strings.HasPrefix(url, "sqlite:") {
		return url
	}
	return url + "?" + options
}
