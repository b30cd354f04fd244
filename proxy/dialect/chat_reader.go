package dialect

type chatReader struct{}

func (r *chatReader) Event(name string, data []byte, to []Event) ([]Event, error) {
	panic("BUG: not written")
}

func (r *chatReader) Whole(body []byte) (*Answer, error) { panic("BUG: not written") }
