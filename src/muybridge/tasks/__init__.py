"""Ring 3: Recognizer, Localizer, Stylizer: arrays or paths in, results in original pixels and seconds out."""
