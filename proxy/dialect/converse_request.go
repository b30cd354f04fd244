package dialect

func (t *Translation) appendConverse(dst []byte) ([]byte, error) { panic("BUG: not written") }
