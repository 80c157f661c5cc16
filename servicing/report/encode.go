// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"encoding/json"
	"io"
	"reflect"
	"strings"
)

// Encode writes the report as json.Marshal does, but holds the JSON of one element of a list at a time.
func (r *Report) Encode(w io.Writer) error { return encode(w, reflect.ValueOf(*r)) }

// Encode writes the audit as json.Marshal does, but holds the JSON of one element of a list at a time.
func (r *AuditReport) Encode(w io.Writer) error { return encode(w, reflect.ValueOf(*r)) }

// encode writes a struct whose fields all have names for JSON, and of whose lists none is of bytes.
func encode(w io.Writer, v reflect.Value) error {
	before := "{"
	for i := range v.NumField() {
		name, options, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		value := v.Field(i)
		list := value.Kind() == reflect.Slice
		if options == "omitempty" && (value.IsZero() || list && value.Len() == 0) {
			continue
		}
		if _, err := io.WriteString(w, before+`"`+name+`":`); err != nil {
			return err
		}
		before = ","
		write := encodeValue
		if list && !value.IsNil() {
			write = encodeList
		}
		if err := write(w, value); err != nil {
			return err
		}
	}
	_, err := io.WriteString(w, "}")
	return err
}

func encodeList(w io.Writer, list reflect.Value) error {
	if _, err := io.WriteString(w, "["); err != nil {
		return err
	}
	for i := range list.Len() {
		if i > 0 {
			if _, err := io.WriteString(w, ","); err != nil {
				return err
			}
		}
		if err := encodeValue(w, list.Index(i)); err != nil {
			return err
		}
	}
	_, err := io.WriteString(w, "]")
	return err
}

func encodeValue(w io.Writer, v reflect.Value) error {
	data, err := json.Marshal(v.Interface())
	if err != nil {
		return err
	}
	_, err = w.Write(data)
	return err
}
