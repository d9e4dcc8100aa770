package simulation

import (
	"reflect"
	"sync"
	"time"
)

// clone copies a record as deep as it is stored, so that no two copies share anything.
func clone[T any](v T) T {
	planOf(reflect.TypeFor[T]()).unshare(reflect.ValueOf(&v).Elem())
	return v
}

// plan is how the values of a type are copied; nil: assignment copies them.
type plan struct {
	elem   *plan
	fields []field
}

type field struct {
	index int
	plan  *plan
}

var plans sync.Map // of *plan, by type

func planOf(t reflect.Type) *plan {
	if known, ok := plans.Load(t); ok {
		p, _ := known.(*plan)
		return p
	}
	var p *plan
	switch t.Kind() { //nolint:exhaustive // the others share nothing
	case reflect.Pointer, reflect.Slice, reflect.Map:
		p = &plan{elem: planOf(t.Elem())}
	case reflect.Struct:
		if t == reflect.TypeFor[time.Time]() {
			break
		}
		var fields []field
		for i := range t.NumField() {
			if f := planOf(t.Field(i).Type); f != nil && t.Field(i).IsExported() {
				fields = append(fields, field{i, f})
			}
		}
		if fields != nil {
			p = &plan{fields: fields}
		}
	}
	plans.Store(t, p)
	return p
}

// unshare makes v, which was assigned, a copy of its own.
func (p *plan) unshare(v reflect.Value) {
	if p == nil {
		return
	}
	switch v.Kind() { //nolint:exhaustive // the others share nothing
	case reflect.Pointer:
		if !v.IsNil() {
			n := reflect.New(v.Type().Elem())
			n.Elem().Set(v.Elem())
			p.elem.unshare(n.Elem())
			v.Set(n)
		}
	case reflect.Slice:
		n := v.Len()
		if n == 0 {
			v.SetZero() // as it is read from a store
			return
		}
		list := reflect.MakeSlice(v.Type(), n, n)
		reflect.Copy(list, v)
		if p.elem != nil {
			for i := range n {
				p.elem.unshare(list.Index(i))
			}
		}
		v.Set(list)
	case reflect.Map:
		if v.Len() == 0 {
			v.SetZero()
			return
		}
		m := reflect.MakeMapWithSize(v.Type(), v.Len())
		for it := v.MapRange(); it.Next(); {
			value := reflect.New(v.Type().Elem()).Elem()
			value.Set(it.Value())
			p.elem.unshare(value)
			m.SetMapIndex(it.Key(), value)
		}
		v.Set(m)
	case reflect.Struct:
		for _, f := range p.fields {
			f.plan.unshare(v.Field(f.index))
		}
	}
}
