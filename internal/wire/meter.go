package wire

// meterBy gives each operation what counts its requests.
func (s *service) meterBy(meter func(string) Meter) {
	if meter == nil {
		return
	}
	for action, op := range s.byAction {
		op.meter = meter(action)
	}
}

// count counts a request that was answered.
func (h *handler) count(c *call) {
	m := h.unknown
	if c.op != nil {
		m = c.op.meter
	}
	if m != nil {
		m.Answered(c.event.ErrorCode, h.Now().Sub(c.event.Time))
	}
}
