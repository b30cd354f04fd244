package export

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"time"

	"jarvis-gateway/proxy/usage/store"
)

// format is a way to write rows, and to count them in what was written.
type format struct {
	ext   string
	write func(w io.Writer, table string) encoder
	count func(o *object) (rows int64, err error)
}

// encoder writes rows one after the other. It holds a bounded number of them.
type encoder interface {
	add(row []store.Value) error
	close() error
}

var formats = map[string]*format{
	"parquet": {"parquet", newParquet, parquetRows},
	"jsonl":   {"jsonl.gz", newLines, countLines},
}

// windows is how many questions a day's rows are asked for in: a database sorts so much at a time, and is not kept from
// tidying up for long.
const windows = 24

// write writes an object, and the note that says it is whole.
func (e *exporter) write(ctx context.Context, p *piece) error {
	f := formats[e.Format]
	to, err := e.place.create(ctx, p.name(f.ext))
	if err != nil {
		return err
	}
	w := &counted{to: to, digest: sha256.New()}
	p.note = note{Format: e.Format}
	err = e.rows(ctx, p, f.write(w, p.table))
	if err = end(ctx, to, err); err != nil {
		return err
	}
	p.Bytes, p.SHA256, p.there = w.bytes, hex.EncodeToString(w.digest.Sum(nil)), true
	return e.save(ctx, p)
}

func (e *exporter) rows(ctx context.Context, p *piece, to encoder) error {
	id := slices.IndexFunc(store.Columns(p.table), func(c store.Column) bool { return c.Name == "uid" })
	for n := range time.Duration(windows) {
		from := p.day.Add(n * lasts / windows)
		err := e.store.Rows(ctx, p.table, from, from.Add(lasts/windows), func(row []store.Value) error {
			p.Rows++
			if id >= 0 {
				p.Last = row[id].Text
			}
			if p.Rows%1000 == 0 {
				e.tell(Progress{Table: p.table, Day: p.day, Rows: p.Rows}, false)
			}
			return to.add(row)
		})
		if err != nil {
			return errors.Join(err, to.close())
		}
	}
	return to.close()
}

// counted takes down what is written.
type counted struct {
	to     io.Writer
	digest hash.Hash
	bytes  int64
}

func (c *counted) Write(b []byte) (int, error) {
	n, err := c.to.Write(b)
	c.digest.Write(b[:n])
	c.bytes += int64(n)
	return n, err
}

// remove deletes the rows of a day's objects from the store, once these have been read back. That it is about to is noted before:
// should it be cut short, the next run knows that rows may be gone.
func (e *exporter) remove(ctx context.Context, day time.Time, pieces []*piece) error {
	expected, deleted := map[string]int64{}, int64(0)
	for _, p := range pieces {
		if p.table == "rollups" { // are no rows of their own
			continue
		}
		expected[p.table] = p.Rows
		deleted += p.Rows
		if p.Rows == 0 {
			continue
		}
		if err := e.verify(ctx, p); err != nil {
			return fmt.Errorf("%s: %w", p.table, err)
		}
		p.Deleting = true
		if err := e.save(ctx, p); err != nil {
			return err
		}
	}
	if deleted == 0 {
		return nil
	}
	if err := e.store.Delete(ctx, day, day.Add(lasts), expected); err != nil {
		return err
	}
	e.sum.Deleted += deleted
	e.tell(Progress{Day: day, Rows: deleted, Result: Deleted}, true)
	return nil
}

// verify reads an object back: it must have the size, the digest and the rows that its note says.
func (e *exporter) verify(ctx context.Context, p *piece) error {
	f := formats[p.Format]
	o, err := e.place.open(ctx, p.name(f.ext))
	if err != nil {
		return err
	}
	defer o.Close()
	if o.size != p.Bytes {
		return fmt.Errorf("the object has %d bytes, not %d", o.size, p.Bytes)
	}
	digest := sha256.New()
	if _, err := o.reader().WriteTo(digest); err != nil {
		return err
	}
	if sum := hex.EncodeToString(digest.Sum(nil)); sum != p.SHA256 {
		return errors.New("the object is not what was written")
	}
	rows, err := f.count(o)
	if err == nil && rows != p.Rows {
		err = fmt.Errorf("the object has %d rows, not %d", rows, p.Rows)
	}
	return err
}

// readAhead is how much is read of an object at a time.
const readAhead = 4 << 20

func (o *object) reader() *bufio.Reader {
	return bufio.NewReaderSize(io.NewSectionReader(o, 0, o.size), readAhead)
}

var newline = []byte{'\n'}

func countLines(o *object) (rows int64, err error) {
	z, err := gzip.NewReader(o.reader())
	if err != nil {
		return 0, err
	}
	buf := make([]byte, 64<<10)
	for {
		n, err := z.Read(buf)
		rows += int64(bytes.Count(buf[:n], newline))
		if err == io.EOF {
			return rows, nil
		}
		if err != nil {
			return rows, err
		}
	}
}
