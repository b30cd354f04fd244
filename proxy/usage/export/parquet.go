package export

import (
	"fmt"
	"io"
	"reflect"
	"unsafe"

	"github.com/parquet-go/parquet-go"
	"github.com/tidwall/gjson"

	"jarvis-gateway/proxy/usage/store"
)

// group is how many rows a row group has: so many are held in memory, compressed.
const group = 100_000

// table writes Parquet: money and counts as INT64, times as TIMESTAMP_MICROS in UTC, lists in three levels, all compressed with
// ZSTD.
type table struct {
	columns []store.Column
	w       *parquet.GenericWriter[any]
	rows    []parquet.Row
	full    int
}

// held is how many rows are handed over at a time.
const held = 256

func newParquet(w io.Writer, name string) encoder {
	t := &table{columns: store.Columns(name)}
	t.w = parquet.NewGenericWriter[any](w, parquet.NewSchema(name, parquet.SchemaOf(rowOf(t.columns))),
		parquet.Compression(&parquet.Zstd), parquet.MaxRowsPerRowGroup(group), parquet.CreatedBy("jarvis-gateway", "1", ""))
	t.rows = make([]parquet.Row, held)
	return t
}

// rowOf is a struct with the columns as fields, as the library derives schemas from these.
func rowOf(columns []store.Column) any {
	fields := make([]reflect.StructField, len(columns))
	for i, c := range columns {
		fields[i] = reflect.StructField{Name: fmt.Sprint("F", i), Type: goTypes[c.Kind], Tag: reflect.StructTag(`parquet:"` + c.Name + tags[c.Kind] + `"`)}
	}
	return reflect.New(reflect.StructOf(fields)).Elem().Interface()
}

var goTypes = map[store.Kind]reflect.Type{
	store.Text: reflect.TypeFor[string](), store.Name: reflect.TypeFor[string](), store.List: reflect.TypeFor[[]string](),
	store.Number: reflect.TypeFor[int64](), store.Instant: reflect.TypeFor[int64](), store.Truth: reflect.TypeFor[bool](),
	store.Fraction: reflect.TypeFor[float64](),
}

var tags = map[store.Kind]string{store.Name: ",dict", store.List: ",list", store.Instant: ",timestamp(microsecond)"}

func (t *table) add(row []store.Value) error {
	to := t.rows[t.full][:0]
	for i, c := range t.columns {
		v := &row[i]
		switch c.Kind {
		case store.List:
			to = appendList(to, v.Text, i)
			continue
		case store.Fraction:
			to = append(to, parquet.DoubleValue(v.Fraction).Level(0, 0, i))
		case store.Truth:
			to = append(to, parquet.BooleanValue(v.Number != 0).Level(0, 0, i))
		case store.Number, store.Instant:
			to = append(to, parquet.Int64Value(v.Number).Level(0, 0, i))
		default:
			to = append(to, textValue(v.Text).Level(0, 0, i))
		}
	}
	t.rows[t.full] = to
	if t.full++; t.full == held {
		return t.flush()
	}
	return nil
}

func appendList(to parquet.Row, list string, column int) parquet.Row {
	before := len(to)
	gjson.Parse(list).ForEach(func(_, item gjson.Result) bool {
		to = append(to, textValue(item.String()).Level(min(len(to)-before, 1), 1, column))
		return true
	})
	if len(to) == before {
		to = append(to, parquet.NullValue().Level(0, 0, column))
	}
	return to
}

// textValue shares the string's memory, which nobody changes.
func textValue(s string) parquet.Value {
	return parquet.ByteArrayValue(unsafe.Slice(unsafe.StringData(s), len(s)))
}

func (t *table) flush() error {
	_, err := t.w.WriteRows(t.rows[:t.full])
	t.full = 0
	return err
}

func (t *table) close() error {
	if err := t.flush(); err != nil {
		return err
	}
	return t.w.Close()
}

func parquetRows(o *object) (int64, error) {
	f, err := parquet.OpenFile(o, o.size, parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
	if err != nil {
		return 0, err
	}
	return f.NumRows(), nil
}
