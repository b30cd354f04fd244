package export

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// place is where objects are: a folder or a bucket.
type place interface {
	// create begins an object, which is there when commit says so, in place of one of that name.
	create(ctx context.Context, name string) (upload, error)
	// open finds an object. The error is fs.ErrNotExist where there is none.
	open(ctx context.Context, name string) (*object, error)
}

// upload is an object that is not there yet.
type upload interface {
	io.Writer
	commit() error
	abort(ctx context.Context) error
}

// object is one that is there.
type object struct {
	io.ReaderAt
	io.Closer
	size int64
}

// end commits what was written, unless that failed.
func end(ctx context.Context, u upload, err error) error {
	if err == nil {
		err = u.commit()
	}
	if err != nil {
		return errors.Join(err, u.abort(context.WithoutCancel(ctx)))
	}
	return nil
}

func openPlace(ctx context.Context, to, endpoint string) (place, error) {
	rest, bucket := strings.CutPrefix(to, "s3://")
	switch {
	case bucket:
		return openBucket(ctx, rest, endpoint)
	case to == "" || strings.Contains(to, "://"):
		return nil, fmt.Errorf("to: %q is neither a folder nor s3://BUCKET/PREFIX", to)
	}
	return folder(to), nil
}

// folder is one of the machine's own.
type folder string

func (f folder) create(_ context.Context, name string) (upload, error) {
	path := filepath.Join(string(f), filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return nil, err
	}
	// One that a crash has left is written anew. Readers of tables do not look at names that begin so.
	file, err := os.OpenFile(filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".new"), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return nil, err
	}
	return &newFile{file, path}, nil
}

func (f folder) open(_ context.Context, name string) (*object, error) {
	file, err := os.Open(filepath.Join(string(f), filepath.FromSlash(name)))
	if err != nil {
		return nil, err
	}
	stat, err := file.Stat()
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return &object{file, file, stat.Size()}, nil
}

type newFile struct {
	*os.File
	path string
}

func (f *newFile) commit() error {
	err := f.Sync()
	if err == nil {
		err = os.Rename(f.Name(), f.path)
	}
	if err == nil {
		err = syncFolder(filepath.Dir(f.path))
	}
	if err != nil {
		return err
	}
	return f.Close()
}

func (f *newFile) abort(context.Context) error {
	_ = f.Close() // it may be
	if err := os.Remove(f.Name()); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// syncFolder has the name on the disk as well. Not every system can.
func syncFolder(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	_ = dir.Sync()
	return dir.Close()
}
