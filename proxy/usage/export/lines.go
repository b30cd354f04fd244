package export

import (
	"bufio"
	"compress/gzip"
	"io"
	"strconv"
	"time"

	"jarvis-gateway/proxy/usage/store"
	"jarvis-gateway/proxy/wire"
)

// lines writes a JSON object for each row, compressed. Times are RFC 3339 in UTC.
type lines struct {
	columns []store.Column
	zip     *gzip.Writer
	buf     *bufio.Writer
	line    []byte
}

func newLines(w io.Writer, table string) encoder {
	z := gzip.NewWriter(w)
	return &lines{columns: store.Columns(table), zip: z, buf: bufio.NewWriterSize(z, 64<<10)}
}

func (l *lines) add(row []store.Value) error {
	b := l.line[:0]
	for i, c := range l.columns {
		b = append(b, "{,"[min(i, 1)])
		b = append(wire.AppendString(b, c.Name), ':')
		b = appendValue(b, c.Kind, &row[i])
	}
	b = append(b, "}\n"...)
	l.line = b
	_, err := l.buf.Write(b)
	return err
}

// layout is how times are written: always as long.
const layout = "2006-01-02T15:04:05.000000Z"

func appendValue(b []byte, kind store.Kind, v *store.Value) []byte {
	switch kind {
	case store.List:
		return append(b, v.Text...)
	case store.Number:
		return strconv.AppendInt(b, v.Number, 10)
	case store.Truth:
		return strconv.AppendBool(b, v.Number != 0)
	case store.Instant:
		return append(time.UnixMicro(v.Number).UTC().AppendFormat(append(b, '"'), layout), '"')
	case store.Fraction:
		return strconv.AppendFloat(b, v.Fraction, 'g', -1, 64)
	}
	return wire.AppendString(b, v.Text)
}

func (l *lines) close() error {
	if err := l.buf.Flush(); err != nil {
		return err
	}
	return l.zip.Close()
}
