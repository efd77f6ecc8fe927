package call

import (
	"arca/internal/api"
	"arca/internal/audit"
)

const (
	// paperBytes is room for the lines of an ordinary read: its own and that of its key.
	paperBytes = 2 * lineBytes
	// maxPaperBytes: what has grown beyond this, by a batch or by parameters of unusual
	// length, is not kept for the next call.
	maxPaperBytes = 64 << 10
)

// paper is what the lines of one call are written on. It goes from call to call, which
// spares each of them some kilobytes: the log copies lines, so they are done with when
// Append returns. Lines that it did not take keep theirs. What is left on it is what the
// log has as well, and no values.
type paper struct {
	// text holds the lines, without newlines, one behind the other. When it has to move,
	// lines that were written before stay where they are.
	text   []byte
	params []byte // of the record that is being written
	sub    [][]byte
	all    [][]byte
}

// takePaper returns one without lines.
func (d *Dispatcher) takePaper() *paper {
	if p, ok := d.papers.Get().(*paper); ok {
		return p
	}
	return &paper{text: make([]byte, 0, paperBytes)}
}

// returnPaper ends the use of the call's paper. Nothing may read the call's lines any
// more.
func (d *Dispatcher) returnPaper(c *Call) {
	p := c.paper
	if p == nil {
		return
	}
	c.paper, c.subLines = nil, nil
	if cap(p.text)+cap(p.params) > maxPaperBytes {
		return
	}
	// Lines that were written before text moved must not be held on to.
	clear(p.sub[:cap(p.sub)])
	clear(p.all[:cap(p.all)])
	p.text, p.params, p.sub, p.all = p.text[:0], p.params[:0], p.sub[:0], p.all[:0]
	d.papers.Put(p)
}

// line writes a record down.
func (p *paper) line(r *audit.Record, node string) []byte {
	start := len(p.text)
	p.text = r.AppendLine(p.text, node)
	return p.text[start:len(p.text):len(p.text)]
}

// length is where the next line begins; nil has none.
func (p *paper) length() int {
	if p == nil {
		return 0
	}
	return len(p.text)
}

// cut takes back the lines that were written from a length on.
func (p *paper) cut(length int) {
	if p != nil {
		p.text = p.text[:length]
	}
}

// parameters renders what a record shows of in and of out, each nil for nothing. They are
// valid until the next record.
func (p *paper) parameters(op *api.Operation, in, out any) (request, response []byte) {
	p.params = p.params[:0]
	if in != nil {
		p.params = api.AppendAuditParameters(p.params, op.Input, in)
	}
	n := len(p.params)
	if out != nil {
		p.params = api.AppendAuditParameters(p.params, op.Output, out)
	}
	return p.params[:n:n], p.params[n:]
}
