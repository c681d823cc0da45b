"""Stories that `script/demo` plays."""
