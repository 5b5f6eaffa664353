"""imagefleet: push prompts onto Redis, have a fleet of GPU workers make the images.

This is the light half that other services install: no torch, no boto3.
"""
