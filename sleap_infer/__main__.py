"""`python -m sleap_infer` is `sleap-infer`."""

from sleap_infer.cli import main

if __name__ == "__main__":
    main()
