package page

import "time"

// axis is the time that a timeline shows: from the first of this month over twelve
// whole months.
type axis struct {
	now, from, until time.Time
}

const months = 13

func newAxis(now time.Time) axis {
	now = now.UTC()
	from := time.Date(now.Year(), now.Month(), 1, 0, 0, 0, 0, time.UTC)
	return axis{now: now, from: from, until: from.AddDate(0, months, 0)}
}

// at is where an instant lies, from 0 to 1.
func (x axis) at(t time.Time) float64 {
	share := float64(t.Sub(x.from)) / float64(x.until.Sub(x.from))
	return min(1, max(0, share))
}

// bar is a rectangle over a time; nil if nothing of it is in view.
func (x axis) bar(kind string, l life, y, height string) node {
	if l.isZero() || !l.until.After(l.from) || !l.until.After(x.from) || !l.from.Before(x.until) {
		return nil
	}
	from, until := x.at(l.from), x.at(l.until)
	return el("rect", class(kind), attr{"x", percent(from)}, attr{"width", percent(max(until-from, 0.003))},
		attr{"y", y}, attr{"height", height}, attr{"rx", "2"})
}

// mark is a line at an instant; nil if it is not in view.
func (x axis) mark(kind string, t time.Time, from, until string) node {
	if t.Before(x.from) || t.After(x.until) {
		return nil
	}
	p := percent(x.at(t))
	return el("line", class(kind), attr{"x1", p}, attr{"x2", p}, attr{"y1", from}, attr{"y2", until})
}

// scale names the months. Its lines are drawn again in each row.
func (x axis) scale() node {
	var names, lines nodes
	for i := range months {
		first := x.from.AddDate(0, i, 0)
		at := percent(x.at(first))
		if i == 0 || first.Month() == time.January {
			names = append(names, el("text", class("year"), attr{"x", at}, attr{"dx", "3"}, attr{"y", "11"}, text(first.Format("2006"))))
		}
		names = append(names, el("text", class("month"), attr{"x", at}, attr{"dx", "3"}, attr{"y", "26"}, text(first.Format("Jan"))))
		if i > 0 {
			lines = append(lines, x.mark("grid", first, "0", "100%"))
		}
	}
	return el("svg", class("scale"), attr{"aria-hidden", "true"}, attr{"focusable", "false"},
		el("defs", el("g", id("grid"), lines, x.mark("now", x.now, "0", "100%"))),
		names)
}

// draw is the timeline of one app. What it shows is said in words beside it.
func (x axis) draw(r *row) node {
	type place struct{ y, height, from, until string }
	lane := place{"5", "9", "2", "17"}
	if r.replaced {
		lane = place{"17", "5", "14", "25"} // the successor is in service by now
	}
	return el("svg", class("life"), attr{"aria-hidden", "true"}, attr{"focusable", "false"},
		el("use", attr{"href", "#grid"}),
		x.bar("current", r.certificate, "5", "9"),
		x.bar("next", r.next, "17", "5"),
		x.bar("overlap", life{r.overlap, r.retires}, "17", "5"),
		x.bar("window", life{r.due, r.lastSafe}, lane.y, lane.height),
		x.mark("safe", r.lastSafe, lane.from, lane.until),
	)
}

// legend explains the colours.
func legend() node {
	item := func(kind, what string) node {
		return el("li", el("span", class("key "+kind), attr{"aria-hidden", "true"}), text(what))
	}
	return el("ul", class("legend"), attr{"aria-label", "Legend of the timeline"},
		item("current", "certificate in service"),
		item("window", "renewed in this time"),
		item("safe", "last safe start"),
		item("next", "its successor"),
		item("overlap", "both accepted"),
		item("now", "now"),
	)
}
