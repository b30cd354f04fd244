package dialect

type converseReader struct{}

func (r *converseReader) Event(name string, data []byte, to []Event) ([]Event, error) {
	panic("BUG: not written")
}

func (r *converseReader) Whole(body []byte) (*Answer, error) { panic("BUG: not written") }
