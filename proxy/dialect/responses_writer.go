package dialect

import "jarvis-gateway/proxy/wire"

type responsesWriter struct{}

func newResponsesWriter(t *Translation) *responsesWriter { panic("BUG: not written") }

func (w *responsesWriter) Event(dst []byte, e *Event) []byte { panic("BUG: not written") }

func (w *responsesWriter) End(dst []byte) []byte { panic("BUG: not written") }

func (w *responsesWriter) Fail(dst []byte, e *wire.Error) []byte { panic("BUG: not written") }

func (w *responsesWriter) Whole(dst []byte, a *Answer) []byte { panic("BUG: not written") }
