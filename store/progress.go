package store

// progress says how far long work has come. Its zero value tells nobody.
type progress struct {
	// report is called with how much of what is done; nil: nobody asked.
	report func(what string, done, total uint64)
	what   string
	done   uint64
	total  uint64
	next   uint64 // when it is reported again
}

// parts is how often each part of the work is reported at most.
const parts = 100

// begin starts a part of the work.
func (p *progress) begin(what string, total uint64) {
	p.what, p.done, p.total, p.next = what, 0, total, 0
	p.at(0)
}

// at says that so much is done.
func (p *progress) at(done uint64) {
	p.done = done
	if p.report == nil || done < p.next {
		return
	}
	p.next = done + max(p.total/parts, 1)
	p.report(p.what, done, p.total)
}

// add says that one more is done.
func (p *progress) add() { p.at(p.done + 1) }
