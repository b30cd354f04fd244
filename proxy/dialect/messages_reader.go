package dialect

type messagesReader struct{}

func (r *messagesReader) Event(name string, data []byte, to []Event) ([]Event, error) {
	panic("BUG: not written")
}

func (r *messagesReader) Whole(body []byte) (*Answer, error) { panic("BUG: not written") }
